"""How many samples go through a block at once."""

import psutil
import torch

from deprune.model.blocks import Stack
from deprune.model.structure import width_of

MOST_SAMPLES = 16
"""More at once gains nothing: 16 windows of 2,048 tokens keep a large GPU busy, and small models a CPU."""

WIDTHS_AT_WORK = 24
"""Hidden states' worth of memory that one block needs while it runs: attention, a gated MLP, and their inputs."""

SHARE = 0.5
"""Share of the free memory that is planned with; the rest is for logits, fragments and other processes."""


def fitting_batch_size(stack: Stack, n_tokens: int, free_bytes: int) -> int:
    """Returns the largest power of two of samples, at most 16, that should fit into memory.

    An estimate: one hidden state per block for the branching ancestors, and some for the block at work. A
    wrong one costs an out-of-memory error, upon which the evaluator halves the batch.
    """
    width, itemsize = width_of(stack.model), stack.model.dtype.itemsize
    return samples_in(free_bytes, sample_bytes(stack.n_blocks, width, itemsize, n_tokens))


def samples_in(free_bytes: float, sample_bytes: int) -> int:
    """Returns this number for samples that take so much memory each."""
    fitting = int(SHARE * free_bytes / sample_bytes)
    return min(MOST_SAMPLES, 1 << (max(1, fitting).bit_length() - 1))


def sample_bytes(n_blocks: int, width: int, itemsize: int, n_tokens: int) -> int:
    """Returns the memory that one sample takes while subsets are evaluated [bytes]."""
    return n_tokens * width * itemsize * (n_blocks + WIDTHS_AT_WORK)


def free_memory(device: torch.device) -> int:
    """Returns the memory that is free on a device [bytes], with what torch holds in reserve."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        reserve: int = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + reserve
    available: int = psutil.virtual_memory().available
    return available


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was too small; on the CPU torch has no type for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator: " in str(error)
