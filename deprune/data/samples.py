"""What a calibration set is made of, and what of it goes through a model at once.

Shapes: B samples, R rows of tokens (one or more for each sample), T tokens, P scored answer tokens.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from deprune.core.fingerprint import digest_of_bytes


@dataclass(frozen=True, eq=False)
class AnswerTokens:
    """Where the choices of items are among their tokens, and which of them are scored.

    Attributes:
        sources_BP: int64; at which token of the item's rows, counted through, a scored token is predicted.
        targets_BP: int64; the scored token.
        choices_BP: int64; the choice that it belongs to, or −1 where there is none.
        answers_B: int64; the right choice.
        segments_RT: int64; the choice that each token belongs to, −1 for what all choices see, −2 for filling.
        positions_RT: int64; the position of each token, where the choices of an item share one row; else None.
    """

    sources_BP: Tensor
    targets_BP: Tensor
    choices_BP: Tensor
    answers_B: Tensor
    segments_RT: Tensor
    positions_RT: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Returns the tensors that there are, by name."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}


@dataclass(frozen=True, eq=False)
class SampleBatch:
    """The samples that go through a model at once.

    Attributes:
        ids_RT: Token ids, int64.
        answers: For items, what is scored of them.
    """

    ids_RT: Tensor
    answers: AnswerTokens | None = None

    def tensors(self) -> list[Tensor]:
        """Returns all tensors."""
        return [self.ids_RT, *(self.answers.tensors().values() if self.answers else ())]

    def model_inputs(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Returns what the model is given beside the token ids."""
        if self.answers is None or self.answers.positions_RT is None:
            return {}
        segments_RT = self.answers.segments_RT
        same_RTT = segments_RT[:, :, None] == segments_RT[:, None, :]
        visible_RTT = (same_RTT | (segments_RT == -1)[:, None, :]).tril()
        mask_RTT = torch.zeros(visible_RTT.shape, dtype=dtype, device=segments_RT.device)
        mask_RTT.masked_fill_(~visible_RTT, torch.finfo(dtype).min)
        return {"attention_mask": mask_RTT[:, None], "position_ids": self.answers.positions_RT}

    def real_tokens(self) -> Tensor:
        """Returns which tokens are no filling, bool `(R, T)`."""
        if self.answers is None:
            return torch.ones_like(self.ids_RT, dtype=torch.bool)
        return self.answers.segments_RT != -2

    def last_tokens(self) -> Tensor:
        """Returns the index of the last token of each sample's text among all tokens, int64 `(B,)`.

        That of an item is the one at which its first choice is predicted.
        """
        if self.answers is None:
            return torch.arange(1, len(self.ids_RT) + 1) * self.ids_RT.shape[1] - 1
        first_B = self.answers.sources_BP[:, 0].cpu()
        return torch.arange(len(first_B)) * (self.ids_RT.numel() // len(first_B)) + first_B


@dataclass(frozen=True, eq=False)
class CalibrationSet:
    """Samples drawn from a corpus: token windows, or multiple-choice items.

    Attributes:
        ids_RT: Token ids, int64 on the CPU; a window is a row, an item one row or several.
        sample_id: A hash of the raw documents of the draw, which is another for every corpus, seed and model only.
        token_hash: Hash of the token ids themselves.
        answers: For items, what is scored of them.
    """

    ids_RT: Tensor
    sample_id: str
    token_hash: str
    answers: AnswerTokens | None = None

    @property
    def n_samples(self) -> int:
        """Number of windows or items."""
        return len(self.ids_RT) if self.answers is None else len(self.answers.answers_B)

    @property
    def largest(self) -> int:
        """The largest id among the tokens."""
        return int(self.ids_RT.max())

    @property
    def rows_per_sample(self) -> int:
        """Number of rows that each sample has."""
        return len(self.ids_RT) // self.n_samples

    @property
    def n_tokens(self) -> int:
        """Number of tokens, without filling."""
        return int(self.batch(0, self.n_samples).real_tokens().sum())

    def batch(self, first: int, size: int, device: torch.device | str = "cpu") -> SampleBatch:
        """Returns the samples from `first` on; where they are fewer than `size`, the first one fills the rest."""
        wanted_B = torch.arange(first, first + size)
        wanted_B[wanted_B >= self.n_samples] = first
        rows_R = (wanted_B[:, None] * self.rows_per_sample + torch.arange(self.rows_per_sample)).flatten()
        if self.answers is None:
            return SampleBatch(self.ids_RT[rows_R].to(device))
        taken = {
            name: tensor[rows_R if name.endswith("_RT") else wanted_B].to(device)
            for name, tensor in self.answers.tensors().items()
        }
        return SampleBatch(self.ids_RT[rows_R].to(device), AnswerTokens(**taken))

    def sample_keys(self) -> list[str]:
        """Returns a hash of everything that each sample gives to a model and an objective."""
        batches = (self.batch(sample, 1) for sample in range(self.n_samples))
        return [digest_of_bytes(tensor.numpy().tobytes() for tensor in batch.tensors()) for batch in batches]
