"""The four claims of the study (arXiv:2604.24938), each judged by stated rules.

Every claim has parts, one per model or response. A claim is supported when all its parts are, not supported
when any part is contradicted, and undecided otherwise; absence of evidence is never taken for evidence of absence.
"""

import math
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from deprune.analysis import design
from deprune.analysis.adjust import holm
from deprune.analysis.patterns.masks import Patterns
from deprune.analysis.read.responses import INCREASE
from deprune.analysis.report.evidence import PRIMARY, Evidence
from deprune.analysis.report.subject import Subject
from deprune.analysis.searches.ranks import ceiling
from deprune.analysis.variance.headline import NO_INTERVAL, NOT_IDENTIFIED, VERDICTS, Ratio

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"

TOO_FEW_DRAWS = "There are fewer than three draws, so there is no interval"

ALPHA = 0.05
NEGLIGIBLE = 0.1  # a share of variance whose whole interval is below this is too small to matter
LITTLE = 0.1  # a gain is little when it wins back less than this share of what one-shot lost against the dense model

ALIKE = 0.5
"""Patterns are similar when their chance-corrected similarity, and ranks agree when their correlation, is above this:
halfway between chance and identity."""

COMPARABLE = 4.0
"""Two variances are comparable when neither is more than this many times the other: standard deviations within two."""

STATEMENTS = (
    "Different calibration configurations give different pruning patterns.",
    "Under a fixed calibration configuration, complex searches gain little over one-shot and converge to similar "
    "subsets.",
    "The calibration configuration plays a larger part than the search in pruning patterns and perplexity, and a "
    "comparable part in the variance of reasoning accuracy.",
    "The ranks of searches by perplexity and by accuracy do not agree.",
)

RULES = (
    f"Claim 1, for each model: supported if exchanging whole calibration draws gives p ≤ {ALPHA} (Holm over models) "
    "for no effect of calibration on patterns; not supported if p is larger and its whole share within condition below "
    f"{NEGLIGIBLE:.0%}.",
    "Claim 2, little gain: for every complex search the interval of the share of one-shot's loss that it wins back is "
    f"below {LITTLE:.0%} (not supported: for one search it is above). Similar subsets, for each model and budget: the "
    "interval of the chance-corrected Jaccard similarity within a calibration draw is above "
    f"{ALIKE} (not supported: below).",
    f"Claim 3, patterns and perplexity: log(V_C/V_S) is above 0, p ≤ {ALPHA} after Holm's correction over the primary "
    "contrasts, which are the ratios of patterns, perplexity and accuracy (not supported: below). Accuracy: its "
    f"interval lies within ±log {COMPARABLE:g} (not supported: outside). With one calibration seed V_C holds the noise "
    "of draws, and there is no verdict.",
    f"Claim 4: the interval of the mean Spearman correlation is below {ALIKE} (not supported: above); the searches are "
    f"taken as given, and conditions as independent. Undecided where the noise of draws alone limits it to {ALIKE}.",
)


@dataclass(frozen=True)
class Part:
    """One piece of evidence: what it is on, what it says of the claim, and the numbers."""

    subject: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class Claim:
    """A claim of the study and what these results say of it."""

    number: int
    statement: str
    parts: tuple[Part, ...]

    @property
    def verdict(self) -> str:
        """`SUPPORTED`, `NOT_SUPPORTED` or `UNDECIDED`."""
        verdicts = {part.verdict for part in self.parts}
        if NOT_SUPPORTED in verdicts:
            return NOT_SUPPORTED
        return SUPPORTED if verdicts == {SUPPORTED} else UNDECIDED

    @property
    def reason(self) -> str:
        """The reason where there is one part; else which parts say what."""
        if len(self.parts) == 1:
            return self.parts[0].reason
        said = {v: [p.subject for p in self.parts if p.verdict == v] for v in (SUPPORTED, NOT_SUPPORTED, UNDECIDED)}
        return " ".join(f"{verdict.capitalize()}: {', '.join(parts)}." for verdict, parts in said.items() if parts)


def _judged(subject: str, numbers: str, *cases: tuple[bool | np.bool, str, str]) -> Part:
    """Returns the verdict of the first case that holds, each saying whether it does, its verdict and why."""
    verdict, why = next((verdict, why) for holds, verdict, why in cases if holds)
    return Part(subject, verdict, f"{why}: {numbers}.")


def judge(evidence: Evidence) -> tuple[Claim, ...]:
    """Returns the four claims with their verdicts."""
    held_out = [s for s in evidence.subjects if s.response.name in PRIMARY]
    gaining = held_out or [s for s in evidence.subjects if s.response.name == INCREASE]
    return (
        Claim(1, STATEMENTS[0], tuple(_differ(evidence))),
        Claim(2, STATEMENTS[1], (*map(_gains, gaining), *_converge(evidence))),
        Claim(3, STATEMENTS[2], tuple(_larger_part(evidence))),
        Claim(4, STATEMENTS[3], (_ranks_differ(evidence),)),
    )


def _no_patterns(evidence: Evidence) -> Iterator[Part]:
    for what, why in evidence.refusals.items():
        if what.startswith("patterns"):
            yield Part(what, UNDECIDED, why)


def _differ(evidence: Evidence) -> Iterator[Part]:
    tests = pd.Series({p.model: p.tests.set_index("effect")["p"].get("calibration") for p in evidence.patterns})
    tested = tests.dropna().astype(float)
    adjusted = dict(zip(tested.index, holm(tested.to_numpy()).tolist(), strict=True))
    for patterns in evidence.patterns:
        yield _differs(patterns, adjusted.get(patterns.model))
    yield from _no_patterns(evidence)


def _differs(patterns: Patterns, p: float | None) -> Part:
    subject = f"patterns of {patterns.model}"
    if "V_C" not in set(patterns.headline["quantity"]):
        return Part(subject, UNDECIDED, "There is one calibration configuration only, so nothing can differ.")
    rows = patterns.headline.set_index("quantity")
    share, low, high = (float(rows[f"share_within{end}"]["V_C"]) for end in ("", "_low", "_high"))
    numbers = f"calibration explains {_percent(share, low, high)} of the variance within budget"
    if p is None:
        why = "some combinations of factors have no run"
        if patterns.panel.n_seeds < 2:
            why = "each configuration was drawn once, and what another draw would change is not known"
        elif patterns.panel.is_complete:
            why = "no draws can be exchanged"
        return Part(subject, UNDECIDED, f"{numbers.capitalize()}, but no permutation test can be made: {why}.")
    return _judged(
        subject,
        f"{numbers}, p = {p:.3g} (exchanging whole draws, Holm over models)",
        (p <= ALPHA, SUPPORTED, "Patterns differ between configurations"),
        (high < NEGLIGIBLE, NOT_SUPPORTED, "Patterns hardly depend on the configuration"),
        (True, UNDECIDED, "No difference was detected, nor can a large one be excluded"),
    )


def _gains(subject: Subject) -> Part:
    name, gains = f"gain in {subject.title}", subject.gains
    if gains.empty:
        return Part(name, UNDECIDED, "One-shot or every complex search is missing, so there is no gain to measure.")
    if gains["recovered"].isna().all():
        return Part(name, UNDECIDED, "One-shot lost nothing against the dense model, so there is nothing to win back.")
    best = gains.sort_values("recovered").iloc[-1]
    return _judged(
        name,
        f"the best search, {best['search']}, wins back {_percent(best['recovered'], best['low'], best['high'])} of "
        f"what one-shot lost ({best['gain']:+.3g} of {best['oneshot_loss']:.3g} {subject.response.unit}; "
        f"{best['draws']} draws)",
        (gains[["low", "high"]].isna().any(axis=None), UNDECIDED, TOO_FEW_DRAWS),
        ((gains["high"] < LITTLE).all(), SUPPORTED, "Searches gain little"),
        ((gains["low"] > LITTLE).any(), NOT_SUPPORTED, "Some searches gain more than little"),
        (True, UNDECIDED, f"The intervals reach across the limit of {LITTLE:.0%}"),
    )


def _converge(evidence: Evidence) -> Iterator[Part]:
    table = evidence.consensus
    within = table[table["kind"] == "within calibration"] if len(table) else table
    for row in within.to_dict("records"):
        model, budget, *more = (row[name] for name in design.conditions(table))
        name = ", ".join(map(str, [f"similar subsets, {model}, k = {budget}", *more]))
        floor = float(row["chance"])
        low, high = ((row[end] - floor) / (1 - floor) for end in ("low", "high"))
        similar = f"{row['corrected']:.2f}{_interval(low, high)}"
        yield _judged(
            name,
            f"similarity within a draw is {similar}, 0 being chance and 1 identity{_seed_ceiling(table, row)}",
            (math.isnan(low), UNDECIDED, TOO_FEW_DRAWS),
            (low > ALIKE, SUPPORTED, "Searches converge"),
            (high < ALIKE, NOT_SUPPORTED, "Searches do not converge"),
            (True, UNDECIDED, f"The interval reaches across {ALIKE}"),
        )
    if within.empty:
        why = "There are no two searches whose removed blocks are known on one draw."
        yield Part("similar subsets", UNDECIDED, why)


def _seed_ceiling(table: pd.DataFrame, row: dict[Hashable, Any]) -> str:
    within = design.conditions(table)
    same = table[(table[within] == [row[name] for name in within]).all(axis=1)].set_index("kind")["corrected"]
    ceiling = same.get("within configuration")
    return "" if ceiling is None else f"; another seed of the same search gives {ceiling:.2f}"


def _larger_part(evidence: Evidence) -> Iterator[Part]:
    p_holm = {str(contrast): float(p) for contrast, p in evidence.primary.set_index("contrast")["p_holm"].items()}
    for patterns in evidence.patterns:
        yield _is_larger(f"patterns of {patterns.model}", patterns.ratio, patterns.panel.n_seeds, p_holm)
    yield from _no_patterns(evidence)
    for name, judged in zip(PRIMARY, (_is_larger, _is_comparable), strict=True):
        subject = evidence.subject(name)
        if subject is None:
            yield Part(name, UNDECIDED, f"No run has a measured {name}.")
        elif subject.decomposition is None:
            yield Part(name, UNDECIDED, subject.refusal)
        else:
            yield judged(name, subject.decomposition.ratio, subject.decomposition.panel.n_seeds, p_holm)


def _is_larger(subject: str, ratio: Ratio, n_seeds: int, p_holm: dict[str, float]) -> Part:
    if part := _not_judged(subject, ratio, n_seeds):
        return part
    verdict, said = {VERDICTS[0]: SUPPORTED, VERDICTS[1]: NOT_SUPPORTED}.get(ratio.verdict), ratio.verdict.capitalize()
    return _judged(
        subject,
        f"{_ratio(ratio)}, p = {p_holm[subject]:.2g} after Holm",
        (verdict is not None and p_holm[subject] > ALPHA, UNDECIDED, f"{said} by its own interval alone"),
        (True, verdict or UNDECIDED, said),
    )


def _is_comparable(subject: str, ratio: Ratio, n_seeds: int, _: dict[str, float]) -> Part:
    if part := _not_judged(subject, ratio, n_seeds):
        return part
    limit = math.log(COMPARABLE)
    return _judged(
        subject,
        _ratio(ratio),
        (-limit < ratio.low and ratio.high < limit, SUPPORTED, "Comparable"),
        (ratio.low > limit or ratio.high < -limit, NOT_SUPPORTED, f"Not comparable, {ratio.verdict}"),
        (True, UNDECIDED, f"The interval reaches across a ratio of {COMPARABLE:g}"),
    )


def _not_judged(subject: str, ratio: Ratio, n_seeds: int) -> Part | None:
    if ratio.verdict == NOT_IDENTIFIED:
        why = "Only one calibration configuration or one search was run, so the two cannot be compared"
    elif n_seeds < 2:
        why = "There is one calibration seed, so V_C holds the noise of draws"
        why += f": V_C / V_S = {_times(ratio.log)}, biased upwards; run more seeds"
    else:
        why = f"There is no interval to judge by: {_ratio(ratio)}" if ratio.verdict == NO_INTERVAL else ""
    return Part(subject, UNDECIDED, f"{why}.") if why else None


def _ranks_differ(evidence: Evidence) -> Part:
    if evidence.ranks.empty:
        return Part("ranks", UNDECIDED, evidence.refusals.get("ranks", "There are no ranks to compare."))
    rho = evidence.ranks["spearman"].dropna().to_numpy(float)
    if len(rho) < 3:
        few = f"There are {len(rho)} conditions with three searches or more, too few for an interval."
        return Part("ranks", UNDECIDED, few)
    width = float(stats.t.ppf(1 - ALPHA / 2, len(rho) - 1) * rho.std(ddof=1) / math.sqrt(len(rho)))
    mean = float(rho.mean())
    numbers = (
        f"the mean Spearman correlation of ranks over {len(rho)} conditions is {mean:+.2f}"
        f"{_interval(max(mean - width, -1.0), min(mean + width, 1.0))}, from {rho.min():+.2f} to {rho.max():+.2f}"
    )
    if not math.isnan(evidence.mean_rank_p):
        numbers += f" (no agreement anywhere: p = {evidence.mean_rank_p:.2g}, by permutation)"
    limit = ceiling(evidence.ranks)
    if not math.isnan(limit):
        numbers += f"; the noise of draws limits it to {limit:.2f}"
    return _judged(
        "ranks",
        numbers,
        (limit < ALIKE, UNDECIDED, "Searches differ too little from noise to be ranked"),
        (mean + width < ALIKE, SUPPORTED, "The ranks do not agree"),
        (mean - width > ALIKE, NOT_SUPPORTED, "The ranks agree"),
        (True, UNDECIDED, f"The interval reaches across {ALIKE}"),
    )


def _percent(value: float, low: float, high: float) -> str:
    interval = "" if math.isnan(low) else f" ({100 * low:.0f} to {100 * high:.0f} %)"
    return f"{100 * value:z.0f} %{interval}"


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" ({low:.2f} to {high:.2f})"


def _ratio(ratio: Ratio) -> str:
    interval = "" if math.isnan(ratio.low) else f" ({_times(ratio.low)} to {_times(ratio.high)})"
    return f"V_C / V_S = {_times(ratio.log)}{interval}"


def _times(log: float) -> str:
    if math.isnan(log):
        return "not known"
    return f"{np.exp(log):.3g}" if abs(log) < 700 else ("infinite" if log > 0 else "0")


def headline_numbers(evidence: Evidence) -> dict[str, float | str]:
    """Returns `<response>/V_C`, `/V_S`, `/log_ratio` with its `_low` and `_high`, `/verdict`; and `claim 1` to 4."""
    numbers: dict[str, float | str] = {"runs": len(evidence.results.runs)}
    for subject in evidence.subjects:
        said: dict[str, float | str] = {"verdict": subject.refusal}
        if found := subject.decomposition:
            variances, ratio = found.headline.set_index("quantity")["variance"], found.ratio
            said = {q: float(variances[q]) for q in ("V_C", "V_S") if q in variances}
            said |= {"log_ratio": ratio.log, "log_ratio_low": ratio.low, "log_ratio_high": ratio.high}
            said["verdict"] = ratio.verdict
        numbers |= {f"{subject.title}/{name}": value for name, value in said.items()}
    return numbers | {f"claim {claim.number}": claim.verdict for claim in judge(evidence)}
