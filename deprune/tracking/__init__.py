"""Tracking of runs in Weights & Biases, off the critical path."""

from deprune.tracking.config import TrackingConfig
from deprune.tracking.report import track_report
from deprune.tracking.run import track

__all__ = ["TrackingConfig", "track", "track_report"]
