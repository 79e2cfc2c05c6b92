"""Names for what the modules of the analysis exchange."""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Term: TypeAlias = tuple[str, ...]
Generator: TypeAlias = np.random.Generator
