"""What a search may ask of the dense model's hidden states: a small object of its own that measures them.

Shapes: R rows of T tokens, D width, B samples, S tokens of all samples, N blocks. h_i is the state that enters
block i, h_N leaves the last.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from deprune.core.fingerprint import digest_of

if TYPE_CHECKING:
    from torch import Tensor


class HiddenStates(Protocol):
    """The hidden states of the dense model on a batch of calibration samples."""

    def real_tokens(self) -> Tensor:
        """Returns which tokens are no filling, bool `(R, T)`."""
        ...

    def last_tokens(self) -> Tensor:
        """Returns the index of the last token of each sample's text among all tokens, int64 `(B,)`."""
        ...

    def __iter__(self) -> Iterator[Tensor]:
        """Runs the model; yields h_0 … h_N, `(R, T, D)`, of which only one is in memory."""
        ...


@dataclass(frozen=True, kw_only=True)
class Statistic(ABC):
    """A statistic of hidden states; its fields are its settings.

    Attributes:
        name: The name under which its values are remembered; no other statistic may have it.
        version: Raised when the formula changes, so that old values are not taken for new.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1

    @abstractmethod
    def measure(self, batches: Sequence[HiddenStates]) -> NDArray[np.float64]:
        """Returns the statistic of all batches together."""

    def key(self) -> str:
        """Returns the name, with a digest of version and settings where one of them says something."""
        settings = asdict(self)
        return self.name if self.version == 1 and not settings else f"{self.name}-{digest_of([self.version, settings])}"


def states_at(batches: Sequence[HiddenStates], tokens: Sequence[Tensor]) -> Tensor:
    """Returns h_0 … h_N at some tokens of each batch, float64 on the CPU, `(N + 1, S, D)`.

    Args:
        batches: The batches.
        tokens: For each of them, indices among all its tokens.
    """
    import torch

    return torch.cat(
        [
            torch.stack([h.flatten(0, 1)[wanted.to(h.device)].double().cpu() for h in batch])
            for batch, wanted in zip(batches, tokens, strict=True)
        ],
        dim=1,
    )
