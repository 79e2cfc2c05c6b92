"""The figures of the analysis: each function takes tables and returns a matplotlib figure."""

from deprune.analysis.figures.outcomes import (
    interaction,
    optimality,
    quality_cost,
    rank_agreement,
    search_spread,
    values_against_each_other,
)
from deprune.analysis.figures.removal import block_shares, consensus_matrix, removal_patterns
from deprune.analysis.figures.shares import seeds_used, variance_shares

__all__ = [
    "block_shares", "consensus_matrix", "interaction", "optimality", "quality_cost", "rank_agreement",
    "removal_patterns", "search_spread", "seeds_used", "values_against_each_other", "variance_shares",
]  # fmt: skip
