"""Decoder-only language models as stacks of blocks: load them, run them, cut them."""
