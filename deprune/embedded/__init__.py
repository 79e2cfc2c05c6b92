"""The embedded default: corpora, reasoning tasks and tiny trained models that need no network.

Everything here is made by this project: `world` fixes an invented world, `documents` writes text about it, `task_items`
writes multiple-choice questions about it, `tasks/` wraps those for lm-eval, `models/` holds the weights that
`experiments/tiny/train.py` trained.
"""
