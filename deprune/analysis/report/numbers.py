"""The headline of a report as flat numbers, for a dashboard."""

from deprune.analysis.report.claims import judge
from deprune.analysis.report.evidence import Evidence
from deprune.analysis.report.subject import Subject


def headline_numbers(evidence: Evidence) -> dict[str, float | str]:
    """Returns `<response>/V_C`, `/V_S`, `/log_ratio` with its `_low` and `_high`, `/verdict`; and `claim 1` to 4."""
    numbers: dict[str, float | str] = {"runs": len(evidence.results.runs)}
    for subject in evidence.subjects:
        numbers |= _of_subject(subject)
    return numbers | {f"claim {claim.number}": claim.verdict for claim in judge(evidence)}


def _of_subject(subject: Subject) -> dict[str, float | str]:
    found = subject.decomposition
    if found is None:
        return {f"{subject.title}/verdict": subject.refusal}
    variances = found.headline.set_index("quantity")["variance"]
    numbers: dict[str, float | str] = {q: float(variances[q]) for q in ("V_C", "V_S") if q in variances}
    ratio = found.ratio
    numbers |= {"log_ratio": ratio.log, "log_ratio_low": ratio.low, "log_ratio_high": ratio.high}
    return {f"{subject.title}/{name}": value for name, value in (numbers | {"verdict": ratio.verdict}).items()}
