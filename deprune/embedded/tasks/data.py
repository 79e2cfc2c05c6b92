"""Gives lm-eval the items of an embedded task."""

from typing import Any

from datasets import Dataset, DatasetDict

from deprune.embedded import task_items


def load(task: str, **_metadata: Any) -> DatasetDict:
    """Returns the training and test split of an embedded task."""
    return DatasetDict({split: Dataset.from_list(rows) for split, rows in task_items.load(task).items()})
