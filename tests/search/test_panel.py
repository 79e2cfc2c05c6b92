"""All searches on an embedded model: what they find against the truth, and what they cost."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from deprune.analysis.searches.optimality import gaps_by_search, optimality_gaps
from deprune.core.errors import DataError
from deprune.record.store import ResultStore, read_record
from tests.conftest import Command
from tests.search.test_searches import SEARCHES

JOB = ["tracking=none", "eval=none", "calib.n_samples=4", "calib.seq_len=32", "budget=2", "calib=facts"]


@pytest.fixture
def panel(sweep_here: Command, tmp_path: Path) -> Path:
    """The results of the exhaustive search, and of all others after it."""
    assert sweep_here("-m", "search=exhaustive", *JOB).code == 0
    others = ",".join(name for name in SEARCHES if name != "exhaustive")
    assert sweep_here("-m", f"search={others}", *JOB).code == 0
    assert sweep_here("-m", "search=random", "seed=1,2,3,4,5,6,7,8", *JOB).code == 0
    return tmp_path / "results"


@pytest.mark.slow
def test_gaps_are_those_of_the_exhaustive_search(panel: Path, run_here: Command) -> None:
    records = [read_record(path) for path in panel.rglob("record.json")]
    losses = {r.factors.search: r.removal.loss for r in records if r.factors.search_seed in (None, 0)}
    assert set(losses) == set(SEARCHES)
    assert min(losses.values()) == losses["exhaustive"]
    for name in ("ga", "bo", "local", "cbo", "greedy"):
        assert losses[name] <= losses["oneshot"]
    assert losses["cbo"] == losses["exhaustive"], "the quadratic model is exact for two blocks"
    for record in records:
        if record.factors.search not in ("exhaustive", "random"):
            assert record.cost.evaluations["sample_evaluations"] in (0, 12 * 4), "only single blocks are new"
    gaps = optimality_gaps(panel)
    assert len(gaps) == len(records)
    assert set(gaps.n_subsets) == {66}
    by_run = gaps.set_index("run_id")
    for record in records:
        assert by_run.loss[record.run_id] == pytest.approx(record.removal.loss, abs=1e-12)
    assert (gaps.gap >= 0).all()
    assert (gaps.gap[gaps.search.isin(["exhaustive", "cbo"])] == 0).all()
    assert (gaps["rank"] == 1).sum() == (gaps.gap == 0).sum()
    table = gaps_by_search(gaps)
    assert table.loc["random", "runs"] == 9
    assert table.loc["random", "mean"] > table.loc["greedy", "mean"]
    printed = run_here("gaps", f"results_dir={panel}", f"out={panel / 'gaps.csv'}").out
    assert all(name in printed for name in SEARCHES)
    assert len(pd.read_csv(panel / "gaps.csv")) == len(records)


@pytest.mark.slow
def test_fewer_samples_have_gaps_too_though_nothing_is_computed(sweep_here: Command, tmp_path: Path) -> None:
    job = ["-m", "search=exhaustive", "calib.n_samples=32,8", *(o for o in JOB if "n_samples" not in o)]
    assert sweep_here(*job).code == 0
    computed = {
        r.factors.calib_samples: r.cost.evaluations["computed"] for r in ResultStore(tmp_path / "results").records()
    }
    assert computed[8] == 0
    assert set(optimality_gaps(tmp_path / "results").run_id) == {p.parent.name for p in tmp_path.rglob("record.json")}


@pytest.mark.slow
def test_the_chance_level_is_the_mean_of_all_subsets(panel: Path) -> None:
    """Recomputed from the lines of the shards alone."""
    sums: dict[str, dict[str, float]] = {}
    for shard in (panel / "evaluations").rglob("*.jsonl"):
        sets: dict[str, list[str]] = {}
        for line in shard.read_text().splitlines():
            content = json.loads(line.split(" ", 1)[1])
            if "keys" in content:
                sets[content["samples"]] = content["keys"]
            elif content.get("subset", "").count("1") == 2:
                found = zip(sets[content["samples"]], content["sums"], content["counts"], strict=True)
                sums.setdefault(content["subset"], {}).update({key: s / c for key, s, c in found})
    losses = [sum(values.values()) / len(values) for values in sums.values()]
    gaps = optimality_gaps(panel)
    assert len(losses) == 66
    assert gaps.chance_loss.unique() == pytest.approx([sum(losses) / 66])
    assert gaps.best_loss.unique() == pytest.approx([min(losses)])


def test_without_the_truth_there_is_no_gap(sweep_here: Command, tmp_path: Path) -> None:
    assert sweep_here("search=oneshot", *JOB).code == 0
    with pytest.raises(DataError, match=r"None of the 1 runs .* search=exhaustive first"):
        optimality_gaps(tmp_path / "results")
