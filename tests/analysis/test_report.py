"""The report: complete, self-contained, escaped, and readable on wide and narrow screens."""

from __future__ import annotations

import functools
import itertools
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from deprune.analysis import decompose, load, load_published
from deprune.analysis.figures import optimality
from deprune.analysis.report import Evidence, gather, with_published_ranks, write_report
from deprune.analysis.report.plots import make_plots
from deprune.analysis.report.write import format_cell
from deprune.core.errors import ConfigError, RecordError
from tests.analysis.sweeps import Truth, write_sweep
from tests.analysis.test_frame import write_grid
from tests.conftest import PATIENCE, Command

SMALL = {"calib_dataset": ("narratives", "facts"), "search": ("oneshot", "greedy", "beam"), "calib_seed": range(3)}
MALICIOUS = "<script>alert('x')</script><img src=x onerror=alert(1)>--></svg>$\\frac{\"&"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def analyze(run_here: Command) -> Command:
    """Runs `python -m deprune.analyze` in this process, in an empty folder."""
    return functools.partial(run_here, "analyze")


@pytest.fixture(scope="module")
def study() -> Evidence:
    """The published tables: means over tasks, and one of their parts."""
    return with_published_ranks(
        gather(load_published(), ["accuracy", "log perplexity", "accuracy of boolq"], n_resamples=50)
    )


@pytest.fixture(scope="module")
def study_accuracy() -> Evidence:
    """The published accuracies of one model."""
    results = load_published().where({"model": "llama3-8b"})
    return with_published_ranks(gather(results, ["accuracy"], n_resamples=50))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """A sweep of two models, one of a malicious name and one of a long name."""
    folder = tmp_path_factory.mktemp("results")
    write_sweep(folder, Truth(), {**SMALL, "model": (MALICIOUS, "m" * 150), "budget": (3,)})
    return gather(load(folder), ["accuracy", "log perplexity", "accuracy of two_hop"], n_resamples=50)


@pytest.fixture(scope="module")
def accuracy_report(study_accuracy: Evidence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of those, which tests read."""
    return write_report(study_accuracy, tmp_path_factory.mktemp("accuracy") / "report")


@pytest.fixture(scope="module")
def page(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of one of those, by its name."""
    return write_report(request.getfixturevalue(request.param), tmp_path_factory.mktemp("page") / "report")


PAGES = [pytest.param("study", marks=pytest.mark.slow), "made"]


class Page(HTMLParser):
    """Collects what a browser would run or fetch, and the ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts, self.fetched, self.handlers, self.ids = 0, [], [], []  # type: ignore[var-annotated]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.scripts += tag == "script"
        self.handlers += [name for name in values if name.startswith("on")]
        self.ids += [values["id"]] if "id" in values else []
        if tag in ("img", "iframe", "object", "embed", "link", "script", "image", "use"):
            self.fetched += [values[a] for a in ("src", "href", "xlink:href", "data") if a in values]


@pytest.mark.parametrize("page", PAGES, indirect=True)
def test_page_is_self_contained_and_escaped(page: Path) -> None:
    text = page.read_text()
    found = Page(text)
    assert found.scripts == 1, "the page's own, and none from a record"
    assert not found.handlers
    assert not [url for url in found.fetched if not url.startswith(("#", "data:"))]
    assert len(found.ids) == len(set(found.ids))
    assert {f"claim-{n}" for n in (1, 2, 3, 4)} <= set(found.ids)
    assert "<!--" not in text
    assert "nan" not in re.findall(r">([^<]*)</td>", text)


@pytest.mark.parametrize("page", ["made"], indirect=True)
def test_malicious_names_are_shown_and_do_nothing(page: Path) -> None:
    text = page.read_text()
    assert "&lt;script&gt;alert(" in text
    assert "<img src=x" not in text
    assert "<script>alert" not in text
    folder = page.parent
    assert {p.parent for p in folder.rglob("*.svg")} == {folder / "figures"}, "a name is no path"
    for path in folder.glob("figures/*.svg"):
        assert "<script" not in path.read_text()
    assert MALICIOUS in set(pd.read_csv(folder / "tables" / "dense.csv")["model"])


@pytest.mark.parametrize("page", PAGES, indirect=True)
def test_files_of_every_table_and_figure_are_linked_and_there(page: Path) -> None:
    links = re.findall(r'href="((?:tables|figures)/[^"]+)"', page.read_text())
    assert len(links) > 20
    for link in links:
        assert (page.parent / link).stat().st_size > 0, link
    figures = {path.stem for path in page.parent.glob("figures/*.svg")}
    assert figures == {path.stem for path in page.parent.glob("figures/*.png")}
    assert {p.stem for p in page.parent.glob("tables/*.csv")} == {p.stem for p in page.parent.glob("tables/*.tex")}


@pytest.mark.slow
@pytest.mark.parametrize("page", ["study"], indirect=True)
def test_published_page_shows_the_checks(page: Path) -> None:
    text = page.read_text()
    assert "Of the 115 averages, variances and correlations" in text.replace("\n", " ")
    assert "110 come out" in text
    assert text.count("off by more than rounding") >= 5
    checks = pd.read_csv(page.parent / "tables" / "published_checks.csv")
    assert (~checks["agrees"]).sum() == 5


@pytest.mark.slow
def test_every_figure_names_its_axes_and_leaves_settings_alone(study: Evidence) -> None:
    before = dict(mpl.rcParams)
    plots = list(make_plots(study))
    assert dict(mpl.rcParams) == before
    assert {p.section for p in plots} == {"search", "variance", "ranks"}
    for plot in plots:
        axes = plot.figure.axes
        assert any(ax.get_xlabel() for ax in axes), plot.name
        assert any(ax.get_ylabel() or ax.get_yticklabels() for ax in axes), plot.name
        assert plot.caption.endswith((".", "?")), plot.name


@pytest.mark.parametrize("name", PAGES)
def test_no_label_covers_another(name: str, request: pytest.FixtureRequest) -> None:
    for plot in make_plots(request.getfixturevalue(name)):
        canvas = FigureCanvasAgg(plot.figure)
        canvas.draw()
        for ax in plot.figure.axes:
            for axis in (ax.xaxis, ax.yaxis):
                labels = [label for label in axis.get_ticklabels() if label.get_visible() and label.get_text()]
                boxes = [label.get_window_extent() for label in labels]
                for (a, first), (b, second) in itertools.combinations(zip(labels, boxes, strict=True), 2):
                    assert not first.padded(-1).overlaps(second), (plot.name, a.get_text(), b.get_text())


def test_optimality_gaps_are_drawn_with_the_best_search_on_top() -> None:
    gaps = pd.DataFrame({"search": ["oneshot", "oneshot", "greedy", "exhaustive"], "gap": [0.5, 0.3, 0.1, 0.0]})
    (ax,) = optimality(gaps).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["exhaustive", "greedy", "oneshot"]
    assert ax.yaxis_inverted()
    assert "gap" in ax.get_xlabel()


@pytest.mark.slow
def test_the_same_results_give_the_same_figures(
    study_accuracy: Evidence, accuracy_report: Path, tmp_path: Path
) -> None:
    assert write_report(study_accuracy, tmp_path / "again").read_text() == accuracy_report.read_text()


@pytest.mark.slow
def test_command_on_the_published_tables(analyze: Command, tmp_path: Path) -> None:
    done = analyze("published=true", "out=study", "response=accuracy")
    assert done.code == 0, done.err
    assert done.out == (
        "90 runs read; left out: nothing. Analysing them, which can take minutes.\nWritten: study/report.html\n"
    )
    ratio = pd.read_csv(tmp_path / "study" / "tables" / "variance_ratio.csv")
    assert ratio["response"].tolist() == ["accuracy"]
    (tmp_path / "study" / "notes.txt").write_text("mine")
    replaced = analyze("published=true", "out=study", "response=log perplexity", "where={model: llama3-8b}")
    assert replaced.code == 0, "a report is replaced"
    assert (tmp_path / "study" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "study" / "figures" / "spread_accuracy.svg").exists(), "what the new one lacks is gone"


@pytest.mark.slow
def test_bad_input_gets_a_sentence_and_leaves_nothing(analyze: Command, tmp_path: Path) -> None:
    write_sweep(tmp_path / "results", Truth(), {**SMALL, "model": ("tiny",), "budget": (3,)})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    (tmp_path / "empty").mkdir()
    (tmp_path / "dense" / "runs").mkdir(parents=True)
    for number, (overrides, sentence) in enumerate(
        [
            (["results_dir=empty"], "There are no runs in empty"),
            (["results_dir=dense"], "No run in dense can be analysed"),
            (["results_dir=nowhere"], "There are no runs in nowhere"),
            (["response=acuracy"], "There is no response 'acuracy'; did you mean accuracy?"),
            (["where={serach: greedy}"], "There is no column of runs 'serach'; did you mean search?"),
            (["where={search: gredy}"], "There is no level of search 'gredy'; did you mean greedy?"),
            (["sweep=yesterday"], "There is no sweep in results 'yesterday'"),
            (["out=mine"], "mine exists and is no report"),
            (["out=mine/thesis.tex"], "mine/thesis.tex exists and is no report"),
            (["out=mine/thesis.tex/report"], "cannot be written"),
            (["published=perhaps"], "The value of 'published' cannot be used"),
            (["where=nll"], "The value of 'where' cannot be used"),
        ]
    ):
        given = {o.partition("=")[0] for o in overrides}
        done = analyze(*overrides, *([] if "out" in given else [f"out=out{number}"]))
        assert done.code == 1, overrides
        assert done.err.startswith("Error: ")
        assert done.err.count("\n") == 1, done.err
        assert sentence in done.err
        assert not (tmp_path / f"out{number}").exists()
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")], "a draft was left"


@pytest.mark.slow
def test_damaged_records_and_missing_answers_do_not_stop_a_report(analyze: Command, tmp_path: Path) -> None:
    write_sweep(tmp_path / "results", Truth(), {**SMALL, "model": ("tiny",), "budget": (3,), "calib_seed": (0,)})
    runs = sorted((tmp_path / "results" / "runs").iterdir())
    first = (runs[0] / "record.json").read_text()
    (runs[0] / "record.json").write_text(first[: len(first) // 2])
    (runs[1] / "record.json").write_text(json.dumps({**json.loads(first), "schema_version": 99}))
    done = analyze("response=accuracy")
    assert done.code == 0, done.err
    assert "left out: 1 damaged, 1 other schema" in done.out
    assert "1 damaged, 1 other schema" in (tmp_path / "report" / "report.html").read_text()


def test_accuracies_are_over_items_where_the_answers_are_there(tmp_path: Path) -> None:
    write_grid(tmp_path, n_seeds=3)
    (with_answers,) = gather(load(tmp_path), ["accuracy"], n_resamples=50).subjects
    assert with_answers.decomposition is not None
    expected = decompose(load(tmp_path), "accuracy", over_items=True, n_resamples=50)
    assert with_answers.decomposition.headline.equals(expected.headline)
    assert "noise of items is subtracted" in with_answers.notes[-1]
    readings = with_answers.sensitivity.set_index("reading")
    assert readings.index.tolist() == [
        "as reported", "logit of accuracy, chance level not taken off", "on these very items",
    ]  # fmt: skip
    as_is = decompose(load(tmp_path), "accuracy", n_resamples=50)
    assert readings.loc["on these very items", "log_ratio"] == as_is.ratio.log
    shutil.rmtree(tmp_path / "downstream")
    (without,) = gather(load(tmp_path), ["accuracy"], n_resamples=50).subjects
    assert without.decomposition is not None
    assert without.decomposition.headline.equals(as_is.headline)
    assert "not subtracted, for the answers to single items are not there" in without.notes[-1]


def test_diverged_runs_are_shown_with_and_without(tmp_path: Path) -> None:
    levels = {**SMALL, "model": ("tiny",), "budget": (3,)}
    write_sweep(tmp_path, Truth(), levels)
    results = load(tmp_path)
    scores = results.scores.copy()
    lost = (scores["metric"] == "log_perplexity") & (scores["run_id"] == results.runs.index[0])
    scores.loc[lost, "value"] = np.nan
    (subject,) = gather(replace(results, scores=scores), ["log perplexity"], n_resamples=50).subjects
    rows = subject.sensitivity.set_index("reading")
    assert rows.index.tolist() == ["as reported", "without diverged runs"]
    assert "over the pairs that exist" in rows.loc["without diverged runs", "estimator"]
    assert rows.loc["as reported", "V_seed_share_within"] > rows.loc["without diverged runs", "V_seed_share_within"]


def test_a_failure_while_writing_keeps_the_earlier_report(
    study_accuracy: Evidence, accuracy_report: Path, tmp_path: Path
) -> None:
    shutil.copytree(accuracy_report.parent, tmp_path / "report")
    before = accuracy_report.read_text()
    broken = replace(study_accuracy, subjects=())
    with pytest.raises(IndexError):
        write_report(broken, tmp_path / "report")
    assert (tmp_path / "report" / "report.html").read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report"]
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is no report"):
        write_report(study_accuracy, tmp_path / "file")
    with pytest.raises(RecordError, match="cannot be written"):
        write_report(study_accuracy, tmp_path / "file" / "report")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.0, "1"), (-0.12345, "−0.123"), (float("nan"), "–"), (None, "–"), (pd.NA, "–"), (True, "yes"),
     (12345.678, "1.23e+04"),
     ("text", "text"), (7, "7")],
)  # fmt: skip
def test_cells(value: object, shown: str) -> None:
    assert format_cell(value) == shown


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("page", ["study", "made"], indirect=True)
def test_no_overflow_and_no_error_in_a_browser(page: Path, width: int, tmp_path: Path) -> None:
    """A frame of the width holds the page: the window itself cannot be as narrow as a telephone."""
    probe = """
      const frame = document.querySelector("iframe");
      frame.addEventListener("load", () => {
        const page = frame.contentDocument, root = page.documentElement;
        page.querySelectorAll("details").forEach((element) => { element.open = true; });
        page.querySelectorAll("th button").forEach((button) => button.click());
        const rising = page.querySelectorAll('th[aria-sort="ascending"]').length;
        const tables = page.querySelectorAll("table").length;
        document.title = JSON.stringify({ inner: frame.clientWidth, scroll: root.scrollWidth, rising, tables,
          alerts: window.alerts ?? 0 });
      });"""
    harness = tmp_path / "harness.html"
    frame = f'<iframe src="file://{page}" style="width:{width}px;height:900px;border:0"></iframe>'
    harness.write_text(f"<!DOCTYPE html><title>waiting</title>{frame}<script>{probe}</script>")
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=10000",
        "--dump-dom", f"file://{harness}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    found = json.loads(re.search(r"<title>(.*?)</title>", done.stdout).group(1))  # type: ignore[union-attr]
    assert found["inner"] == width
    assert found["scroll"] <= width
    assert found["rising"] == found["tables"] > 5, "every table can be sorted"
    assert "CONSOLE" not in done.stderr, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
