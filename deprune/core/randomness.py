"""Independent random streams from one seed and a purpose."""

import zlib

import numpy as np


def generator(seed: int, *purpose: str) -> np.random.Generator:
    """Returns a generator; other seeds or purposes give independent streams."""
    key = [zlib.crc32(word.encode()) for word in purpose]
    return np.random.default_rng(np.random.SeedSequence([seed, *key]))
