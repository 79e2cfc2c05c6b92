"""The report: tables, figures, and one page that goes from the question to the answer."""

from deprune.analysis.report.claims import Claim, headline_numbers, judge
from deprune.analysis.report.evidence import Evidence, gather, with_published_ranks
from deprune.analysis.report.write import write_report

__all__ = ["Claim", "Evidence", "gather", "headline_numbers", "judge", "with_published_ranks", "write_report"]
