"""What the hidden states of the dense model say about its blocks, without removing any.

Shapes: N blocks, S states (tokens), D width. h_i is the state that enters block i, h_N leaves the last.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from deprune.data.samples import SampleBatch
from deprune.model.blocks import BlockStack

N_COMPONENTS = 32
"""Number of principal components of which canonical correlations are taken."""

MOST_STATES = 1024
"""Number of tokens, evenly spread over the samples, that the mutual information is estimated on."""


def hidden_states(stack: BlockStack, batch: SampleBatch) -> Iterator[Tensor]:
    """Yields h_0 … h_N of the dense model, `(R, T, D)` each; only one is in memory."""
    inputs = stack.embed(batch.ids_RT, **batch.model_inputs(stack.model.dtype))
    hidden_RTD = inputs.hidden_BTD
    yield hidden_RTD
    for block in range(stack.n_blocks):
        hidden_RTD = stack.run_block(block, hidden_RTD, inputs)
        yield hidden_RTD


def block_influence(stack: BlockStack, batches: Sequence[SampleBatch]) -> NDArray[np.float64]:
    """Returns the mean over tokens of 1 − cos(h_i, h_{i+1}), `(N,)`.

    Source: ShortGPT (arXiv:2403.03853), equation 1.
    """
    sums, count = np.zeros(stack.n_blocks), 0
    for batch in batches:
        real_RT = batch.real_tokens()
        count += int(real_RT.sum())
        for block, (before, after) in enumerate(itertools.pairwise(hidden_states(stack, batch))):
            cosines_RT = functional.cosine_similarity(before.double(), after.double(), dim=-1)
            sums[block] += (1 - cosines_RT)[real_RT.to(cosines_RT.device)].sum().item()
    return sums / count


def angular_distances(stack: BlockStack, batches: Sequence[SampleBatch]) -> NDArray[np.float64]:
    """Returns the mean over samples of arccos(cos(h_i, h_j))/π at the last token, `(N + 1, N + 1)`.

    Source: Gromov et al. (arXiv:2403.17887), equation 4.
    """
    states_NBD = _picked(stack, [(batch, batch.last_tokens()) for batch in batches])
    unit_NBD = functional.normalize(states_NBD, dim=-1)
    cosines_NNB = torch.einsum("ibd,jbd->ijb", unit_NBD, unit_NBD).clamp(-1, 1)
    distances: NDArray[np.float64] = torch.arccos(cosines_NNB).mean(dim=-1).numpy() / np.pi
    np.fill_diagonal(distances, 0)  # the arccosine of a rounded one is not zero
    return distances


def mutual_information(stack: BlockStack, batches: Sequence[SampleBatch]) -> NDArray[np.float64]:
    """Returns a Gaussian estimate of I(h_i; h_{i+1}) [nat], `(N,)`.

    −½ Σ log(1 − ρ²) over the canonical correlations ρ of the leading principal components; these
    have orthonormal scores, so the ρ are the singular values of the scores' product.
    """
    real = [batch.real_tokens().flatten().nonzero()[:, 0].cpu() for batch in batches]
    stride = max(1, sum(map(len, real)) // MOST_STATES)
    states_NSD = _picked(stack, [(b, tokens[::stride]) for b, tokens in zip(batches, real, strict=True)])
    scores = [_leading_scores(states_SD) for states_SD in states_NSD]
    return np.array([_information(a, b) for a, b in itertools.pairwise(scores)])


def _picked(stack: BlockStack, wanted: Iterable[tuple[SampleBatch, Tensor]]) -> Tensor:
    """Returns h_0 … h_N at some tokens of some batches, float64 on the CPU, `(N + 1, S, D)`."""
    return torch.cat(
        [
            torch.stack([h.flatten(0, 1)[tokens.to(h.device)].double().cpu() for h in hidden_states(stack, batch)])
            for batch, tokens in wanted
        ],
        dim=1,
    )


def _leading_scores(states_SD: Tensor) -> Tensor:
    centred_SD = states_SD - states_SD.mean(dim=0)
    left, _, _ = torch.linalg.svd(centred_SD, full_matrices=False)
    scores_SK: Tensor = left[:, :N_COMPONENTS]
    return scores_SK


def _information(scores_a: Tensor, scores_b: Tensor) -> float:
    correlations = torch.linalg.svdvals(scores_a.T @ scores_b).clamp(max=1 - 1e-12)
    return float(-0.5 * torch.log1p(-(correlations**2)).sum())
