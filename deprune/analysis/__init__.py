"""Which factor explains the variance? Reads records; never imports torch.

In short: `decompose(load("results"), "accuracy").headline`.
"""

from deprune.analysis.read.published import check_published, load_published
from deprune.analysis.read.responses import response, response_names
from deprune.analysis.read.results import Results, load
from deprune.analysis.variance.decompose import Decomposition, decompose
from deprune.analysis.variance.headline import Ratio

__all__ = [
    "Decomposition", "Ratio", "Results", "check_published", "decompose", "load", "load_published", "response",
    "response_names",
]  # fmt: skip
