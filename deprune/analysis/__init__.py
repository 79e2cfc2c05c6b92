"""Which factor explains the variance? Reads records; never imports torch.

In short: `decompose(load("results"), "accuracy").headline`.
"""

from deprune.analysis.decompose import Decomposition, decompose
from deprune.analysis.frame import Results, load
from deprune.analysis.headline import Ratio
from deprune.analysis.published import check_published, load_published
from deprune.analysis.responses import response, response_names

__all__ = [
    "Decomposition", "Ratio", "Results", "check_published", "decompose", "load", "load_published", "response",
    "response_names",
]  # fmt: skip
