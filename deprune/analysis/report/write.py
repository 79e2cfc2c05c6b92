"""Writes a report: a folder with `report.html`, `tables/` and `figures/`."""

import base64
import hashlib
import io
import math
import re
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import jinja2
import matplotlib as mpl
import pandas as pd
from markupsafe import Markup

import deprune
from deprune.analysis.read.published import check_published
from deprune.analysis.report.claims import RULES, judge
from deprune.analysis.report.evidence import Evidence
from deprune.analysis.report.plots import Plot, make_plots
from deprune.analysis.report.tables import Table, make_tables
from deprune.core.errors import ConfigError, RecordError
from deprune.core.fingerprint import file_name_of

MAX_ROWS = 200


def check_free(out: Path) -> None:
    """Makes sure that a folder is free for a report, or holds an earlier one, which may be replaced.

    Raises:
        ConfigError: It is something else.
    """
    page = out / "report.html"
    is_report = page.is_file() and 'name="generator" content="deprune ' in page.read_text(encoding="utf-8")[:1000]
    if out.exists() and not is_report and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"{out} exists and is no report; give another folder in out=<folder>, or remove it first.")


def write_report(evidence: Evidence, out: Path) -> Path:
    """Writes the report, and returns the path of the page; an earlier one is replaced once all is made.

    Raises:
        ConfigError: The folder is neither new nor empty, nor does it hold an earlier report.
        RecordError: It cannot be written.
    """
    check_free(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        why = f"{out} cannot be written: {error.strerror}; choose another folder with out=<folder>."
        raise RecordError(why) from error
    try:
        _write_parts(evidence, draft)
        out.mkdir(exist_ok=True)
        for part in ("tables", "figures", "report.html"):
            old = out / part
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
            (draft / part).rename(old)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out / "report.html"


def _write_parts(evidence: Evidence, folder: Path) -> None:
    claims = judge(evidence)
    tables = make_tables(evidence, claims)
    for part in ("tables", "figures"):
        (folder / part).mkdir()
    for table in tables:
        _write_table(table, folder / "tables")
    plots = [(plot, _write_plot(plot, folder / "figures")) for plot in make_plots(evidence)]
    checks, script = check_published(), (Path(__file__).parent / "templates" / "sort.js").read_text(encoding="utf-8")
    page = _environment().get_template("report.html.j2").render(
        evidence=evidence, generator=f"deprune {deprune.__version__}",
        source="records of your own sweeps" if evidence.results.folder else "the tables of arXiv:2604.24938v1",
        claims=claims, rules=RULES, checks=checks, off=checks[~checks["agrees"]].to_dict("records"),
        tables={table.name: table for table in tables}, max_rows=MAX_ROWS,
        plots=[(plot, file_name_of(plot.name), Markup(svg)) for plot, svg in plots], script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )  # fmt: skip
    (folder / "report.html").write_text(page, encoding="utf-8")


def _write_table(table: Table, folder: Path) -> None:
    table.frame.to_csv(folder / f"{table.name}.csv", index=False)
    is_long = len(table.frame) > 40
    latex = table.frame.to_latex(index=False, escape=True, float_format="%.4g", na_rep="--", longtable=is_long)
    (folder / f"{table.name}.tex").write_text(latex, encoding="utf-8")


def _write_plot(plot: Plot, folder: Path) -> str:
    """Writes a figure as SVG and PNG, and returns the SVG for the page."""
    name, buffer = file_name_of(plot.name), io.StringIO()
    with warnings.catch_warnings(), mpl.rc_context({"svg.hashsalt": name, "text.parse_math": False}):
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # names in any script are allowed
        plot.figure.savefig(buffer, format="svg", metadata={"Date": None})
        plot.figure.set_layout_engine("none")  # both files have the same, and finding it takes half of the time
        plot.figure.savefig(folder / f"{name}.png", dpi=200)
    svg = buffer.getvalue()
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    return _inline(svg, name)


def _inline(svg: str, name: str) -> str:
    """Returns an SVG that may stand in a page beside others: no header, no comments, names of its own."""
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return re.sub(r'<svg ([^>]*?)height="[^"]*"([^>]*?)width="[^"]*"', r'<svg aria-hidden="true" \1\2', svg, count=1)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("deprune.analysis.report", "templates"), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters["rows"] = lambda frame: frame.head(MAX_ROWS).astype(object).to_numpy().tolist()
    environment.filters["cell"] = format_cell
    return environment


def format_cell(value: Any) -> str:
    """Returns a value as a reader wants to see it: three digits, a dash for what is missing."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if math.isnan(value):
            return "–"
        whole = value.is_integer() and abs(value) < 1e6
        return (f"{value:.0f}" if whole else f"{value:.3g}").replace("-", "−")
    return "–" if value is None or value is pd.NA else str(value)
