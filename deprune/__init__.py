"""deprune: reproducible experiment sweeps for depth pruning of language models."""

__version__ = "0.1.0"
