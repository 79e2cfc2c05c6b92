"""What a job leaves behind: its record, and the loss of every subset on every sample."""

from deprune.record.schema import FailureRecord, MetricRow, RunRecord
from deprune.record.store import ResultStore, read_failure, read_record

__all__ = ["FailureRecord", "MetricRow", "ResultStore", "RunRecord", "read_failure", "read_record"]
