"""The simulated sweeps of `experiments/statistics`, which the tests take slices of."""

import sys

from tests.conftest import ROOT

sys.path.insert(0, str(ROOT / "experiments" / "statistics"))
