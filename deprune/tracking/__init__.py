"""Tracking of runs in Weights & Biases, off the critical path."""

from deprune.tracking.config import TrackingConfig
from deprune.tracking.job_run import track
from deprune.tracking.report_run import track_report

__all__ = ["TrackingConfig", "track", "track_report"]
