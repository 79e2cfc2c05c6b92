"""Objectives: what a pruned model should keep, as a loss on calibration samples."""
