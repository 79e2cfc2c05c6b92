"""lm-eval's tasks are found without reading all of its settings, and are those that it finds itself."""

from __future__ import annotations

import pytest
from lm_eval.tasks import TaskManager

from deprune.core.errors import ConfigError
from deprune.data import tasks
from deprune.data.hub import DataSet


def test_a_task_is_found_without_the_settings_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks._index.cache_clear()
    monkeypatch.setattr(tasks, "_folder_of_all", lambda: pytest.fail("all tasks were read"))
    tasks.check_tasks(["mini_one_hop"])
    monkeypatch.undo()
    tasks.check_tasks(["boolq"])
    assert len(tasks._index_of("boolq").all_subtasks) < 20


def test_what_a_task_reads_is_known_where_its_definition_names_it() -> None:
    """Also of data sets without an owner; not where its own code, or a reader of other files, says it."""
    assert tasks.data_sets_of("mini_one_hop") == tasks.named_data_sets("mini_one_hop") == ()
    assert tasks.named_data_sets("boolq") == (DataSet(path="aps/super_glue", config="boolq"),)
    assert [data.path for data in tasks.named_data_sets("french_bench_orangesum_title")] == ["orange_sum"]
    for name in ("arithmetic_1dc", "squadv2"):
        assert tasks.data_sets_of(name) == ()
        with pytest.raises(ConfigError, match=f"'{name}' names no data set of the Hub, .* cannot be fetched before"):
            tasks.named_data_sets(name)


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
