"""lm-eval's tasks are found without reading all of its settings, and are those that it finds itself."""

from __future__ import annotations

import pytest
from lm_eval.tasks import TaskManager

from deprune.core.errors import ConfigError
from deprune.data import tasks


def test_a_task_is_found_without_the_settings_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks._index.cache_clear()
    monkeypatch.setattr(tasks, "_folder_of_all", lambda: pytest.fail("all tasks were read"))
    tasks.check_tasks(["mini_one_hop"])
    monkeypatch.undo()
    tasks.check_tasks(["boolq"])
    assert len(tasks._index_of("boolq").all_subtasks) < 20


@pytest.mark.slow
def test_every_task_is_the_one_of_lm_evals_own_index(monkeypatch: pytest.MonkeyPatch) -> None:
    own = TaskManager()
    assert len(own.all_subtasks) > 10_000
    for name in own.all_subtasks:
        assert own.task_index[name].yaml_path.parent == tasks._folders()[name], name
    for name in own.all_subtasks[::500]:
        assert tasks._index_of(name).task_index[name] == own.task_index[name]
    monkeypatch.setattr(tasks, "_folders", dict)  # as for a task whose file does not say its name as others do
    monkeypatch.setattr(tasks, "_index", {tasks._folder_of_all(): own}.__getitem__)
    tasks.check_tasks(["boolq"])
    with pytest.raises(ConfigError, match="There is no evaluation task 'bolq'; did you mean boolq"):
        tasks.check_tasks(["bolq"])
