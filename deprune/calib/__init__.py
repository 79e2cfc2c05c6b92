"""Calibration sets: corpora, seeded draws from them, and token windows."""
