"""The tables of arXiv:2604.24938v1 in the form of records, and a check of its arithmetic."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from deprune.analysis.read.records import SCORE_FIELDS
from deprune.analysis.read.results import Results, typed
from deprune.record.legacy import METRICS, search_facts

FOLDER = Path(__file__).parent / "published_tables"

N_BLOCKS = {"llama3-8b": 32, "llama3.1-8b": 32, "qwen3-8b": 36}

N_ITEMS = {
    "hellaswag": 10042, "winogrande": 1267, "arc_easy": 2376, "arc_challenge": 1172, "piqa": 1838, "boolq": 3270,
}  # fmt: skip
"""Sizes of the standard evaluation splits; the printed accuracies are whole multiples of 1/n for all but
HellaSwag, where steps are finer than the printed digits."""

CALIBRATION = {"task_margin": ("commonsense_170k", 128, pd.NA), "nll": ("c4", 64, 2048)}
"""Objective -> corpus, samples and window length; the length of the first is not stated."""

KEY = ["model", "budget", "search"]
"""Columns of the files that name a pruned model."""


def read_table(name: str) -> pd.DataFrame:
    """Returns one of the published tables, such as `table1_accuracy`, with the names that this project uses."""
    table = pd.read_csv(FOLDER / f"{name}.csv")
    if "search" in table:
        table["search"] = table["search"].replace({"one_shot": "oneshot"})
    table["objective"] = table["objective"].replace({"perplexity": "nll"})
    return table


def load_published() -> Results:
    """Returns Tables 1 to 3 in the form of `load`.

    Margin-pruned models have accuracies only and perplexity-pruned models perplexities only;
    seeds and removed blocks are not published, and every number was measured once.
    """
    accuracy, perplexity = read_table("table1_accuracy"), read_table("table2_perplexity")
    firsts = {"task_margin": accuracy.drop_duplicates(KEY), "nll": perplexity.drop_duplicates(KEY)}
    runs = _runs(pd.concat([rows.assign(objective=name) for name, rows in firsts.items()], ignore_index=True))
    times = read_table("table3_search_time").rename(columns={"time_s": "search_seconds"})
    runs = runs.merge(times[[*KEY, "objective", "search_seconds"]], how="left", on=[*KEY, "objective"])
    means = accuracy.groupby(KEY, as_index=False)["accuracy"].mean().assign(objective="task_margin")
    runs = runs.merge(means, how="left", on=[*KEY, "objective"])
    dense = means[means["search"] == "dense"].set_index("model")["accuracy"]
    runs["accuracy_dense"] = runs["model"].map(dense).where(runs["accuracy"].notna())
    shares = _scores(accuracy, "task_margin", "acc", accuracy["accuracy"] / 100)
    perplexity = perplexity.rename(columns={"corpus": "task"})
    losses = _scores(perplexity, "nll", "log_perplexity", np.log(perplexity["perplexity"]))
    scores = pd.concat([shares, losses], ignore_index=True)
    return Results(runs=typed(with_search_facts(runs).set_index("run_id")), scores=scores, excluded={})


def with_search_facts(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns runs that no record is behind with what their searches would say of themselves."""
    facts = {str(search): search_facts(str(search)) for search in runs["search"].unique() if search != "dense"}
    of = {name: {search: said[name] for search, said in facts.items()} for name in ("kind", "order")}
    return runs.assign(search_kind=runs["search"].map(of["kind"]), search_order=runs["search"].map(of["order"]))


def _runs(rows: pd.DataFrame) -> pd.DataFrame:
    dataset, samples, length = zip(*(CALIBRATION[objective] for objective in rows["objective"]), strict=True)
    n_blocks = rows["model"].map(N_BLOCKS)
    runs = rows[[*KEY, "objective"]].assign(
        run_id=_run_ids(rows, rows["objective"]), model_revision="published", n_blocks=n_blocks,
        budget_frac=rows["budget"] / n_blocks, calib_dataset=dataset, calib_samples=samples, calib_seq_len=length,
        calib_config=[f"{o} {d} n{n}" for o, d, n in zip(rows["objective"], dataset, samples, strict=True)],
        is_dense=rows["budget"] == 0, unit=rows["objective"].map({"task_margin": "nat", "nll": "nat/token"}),
        calib_value=rows["margin"], status="done", racing=False, warnings="",
        calib_value_dense=rows["model"].map(rows[rows["budget"] == 0].groupby("model")["margin"].first()),
    )  # fmt: skip
    runs["calib_value_dense"] = runs["calib_value_dense"].where(runs["calib_value"].notna())
    runs["draw_id"] = runs["calib_dataset"] + "/seed not published/" + runs["model"]
    unknown = ("calib_seed", "search_seed", "calib_sample_id", "subset", "subset_hash", "n_evals", "block_calls")
    runs[list(unknown)] = pd.NA
    return runs.assign(device=None)


def _run_ids(rows: pd.DataFrame, objective: pd.Series | str) -> pd.Series:
    return rows["model"] + " k" + rows["budget"].astype(str) + " " + objective + " " + rows["search"]


def _scores(table: pd.DataFrame, objective: str, metric: str, value: pd.Series) -> pd.DataFrame:
    """Returns one row per run and task or corpus; items are known of tasks only, whose scores are shares."""
    n_items = table["task"].map(N_ITEMS)
    scores = table.assign(
        run_id=_run_ids(table, objective), metric=metric, **METRICS[metric], value=value,
        stderr=np.sqrt(value * (1 - value).clip(lower=0) / (n_items - 1)), n_items=n_items.astype("Int32"),
        higher_is_better=objective == "task_margin", chance=np.nan, item_set="published", version="published",
        subset_hash=None,
    )  # fmt: skip
    dense = scores.loc[scores["budget"] == 0, ["model", "task", "value", "stderr"]]
    dense = dense.rename(columns={"value": "dense_value", "stderr": "dense_stderr"})
    return scores.merge(dense, how="left", on=["model", "task"])[["run_id", "model", "subset_hash", *SCORE_FIELDS]]


def check_published() -> pd.DataFrame:
    """Recomputes every derived number of the paper.

    One row per printed average, variance and correlation: `source`, `model`, `budget`, `search`, `printed`,
    `recomputed`, `digits` printed, whether it `agrees` to those digits, and a `note` on every disagreement.
    """
    averages = [_check_averages(1, "accuracy"), _check_averages(2, "perplexity")]
    checks = pd.concat([*averages, _check_variances(), _check_correlations(), _check_times()])
    difference = (checks["recomputed"] - checks["printed"]).abs()
    # A printed digit is right up to half a unit; 1e-9 is for sums of decimals in binary.
    checks["agrees"] = difference <= 0.5 * 10.0 ** -checks["digits"] + 1e-9
    note = "off by more than rounding; averaging unrounded entries may explain it"
    return checks.assign(note=np.where(checks["agrees"], "", note)).reset_index(drop=True)


def _check_averages(number: int, value: str) -> pd.DataFrame:
    means = read_table(f"table{number}_{value}").groupby(KEY, as_index=False)[value].mean()
    rows = read_table(f"table{number}_rows").merge(means, on=KEY)
    rows = rows.rename(columns={"avg_printed": "printed", value: "recomputed"})
    return rows[[*KEY, "printed", "recomputed"]].assign(source=f"Table {number}, average", digits=2)


def _check_variances() -> pd.DataFrame:
    """Figure 3 prints the population variance (divided by n) of the seven printed averages."""
    averages = pd.concat([read_table("table1_rows"), read_table("table2_rows")])
    groups = averages.groupby(["model", "budget", "objective"])["avg_printed"]
    variances = groups.var(ddof=0).rename("recomputed").reset_index()
    rows = read_table("figure3_variance").merge(variances).rename(columns={"sigma2_printed": "printed"})
    source = "Figure 3, variance over searches (" + rows["response"] + ")"
    return rows[["model", "budget", "printed", "recomputed"]].assign(source=source, digits=1)


def _check_correlations() -> pd.DataFrame:
    """Figure 2 correlates ranks of Table 2's averages with ranks of accuracies that are not printed."""
    ranks = read_table("figure2_ranks").merge(read_table("table2_rows"), on=[*KEY, "objective"])
    groups = ranks.groupby(["model", "budget"])[["avg_printed", "accuracy_rank"]]
    rho = groups.apply(lambda group: stats.spearmanr(group).statistic).rename("recomputed").reset_index()
    rows = read_table("figure2_spearman").rename(columns={"rho_printed": "printed"}).merge(rho)
    return rows[[*rho.columns, "printed"]].assign(source="Figure 2, Spearman correlation", digits=2)


def _check_times() -> pd.DataFrame:
    rows = read_table("table3_search_time").merge(read_table("table1_rows"), on=[*KEY, "objective"])
    rows = rows.rename(columns={"avg_accuracy": "printed", "avg_printed": "recomputed"})
    return rows[[*KEY, "printed", "recomputed"]].assign(source="Table 3, average accuracy", digits=2)


def published_remarks() -> pd.DataFrame:
    """Returns where the paper's prose and its tables, or two of its tables, do not go together.

    One row per case: the `model`, `budget` and `search` that it is about, what was `said`, and what is `found`.
    """
    rows = read_table("table1_rows")
    pruned, dense = rows[rows["budget"] > 0], rows[rows["budget"] == 0]
    better = pruned.merge(dense[["model", "margin"]], on="model", suffixes=("", "_dense"))
    better = better[better["margin"] < better["margin_dense"]]
    found = "pruned " + better["margin"].astype(str) + " is better than dense " + better["margin_dense"].astype(str)
    remarks = [better.assign(said="the margin measures what pruning costs", found=found)]
    spread = pruned.groupby(["model", "budget"])["avg_printed"].agg(np.ptp).reset_index(name="spread")
    spread = spread[spread["spread"] > 3]
    found = "the range over searches is " + spread["spread"].map("{:.2f}".format) + " points"
    remarks.append(spread.assign(search="", said="searches differ by 1 to 3 points", found=found))
    remarks += [_copies("table1_accuracy", "accuracy"), _copies("table2_perplexity", "perplexity")]
    return pd.concat(remarks)[[*KEY, "said", "found"]].reset_index(drop=True)


def _copies(name: str, column: str) -> pd.DataFrame:
    table = read_table(name)
    objective = table.loc[table["budget"] > 0, "objective"].iloc[0]
    entries = table.assign(entries=table[column].astype(str)).groupby(KEY)["entries"].agg(" ".join).reset_index()
    copies = entries.groupby(["model", "budget", "entries"])["search"].agg(", ".join).reset_index()
    copies = copies[copies["search"].str.contains(",")]
    return copies.assign(said="seven searches give seven results", found=f"equal in every column under {objective}")
