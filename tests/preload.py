"""What a process has imported that others are forked from: all that a sweep of an embedded model needs."""

import gc

import lm_eval.evaluator  # noqa: F401
import transformers.models.llama.modeling_llama  # noqa: F401
from hydra.core.plugins import Plugins

import deprune.run.job
import deprune.run.launch
import deprune.run.table
import deprune.sweep  # noqa: F401

Plugins.instance()
gc.freeze()  # it stays, so no child need search it
