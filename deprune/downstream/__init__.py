"""Scorers: what a pruned model is worth, as rows of metrics."""
