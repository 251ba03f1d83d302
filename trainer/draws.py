"""Random numbers that are functions of their coordinates: no state, no order, the same on every machine.

`uniform(seed, CROP, position, view)` is one number, whoever asks for it and whatever was asked before. So a batch is
the same for every worker count and number of ranks, and a run that resumes has no generator to restore.

The mixing function is the finaliser of splitmix64 (Steele, Lea and Flood 2014), applied once per coordinate.
"""

from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bits = NDArray[np.uint64]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


class Draw(IntEnum):
    """What a number is for: the first coordinate, so that no two purposes share numbers."""

    SHARDS = 1
    WINDOW = 2
    IMAGES = 3
    REPLACEMENT = 4
    DOWNSAMPLE = 5
    CROP = 6
    COLOUR = 7
    MASKED_IMAGES = 8
    MASKED_TOKENS = 9
    STEP = 10
    TEXT_VIEW = 11
    MASKED_WORDS = 12


def bits(seed: int, draw: Draw, *coordinates: ArrayLike) -> Bits:
    """64 random bits for each point; the coordinates (integers) broadcast against each other."""
    # Wrapping around is what the function is made of; scalars would warn about it.
    with np.errstate(over="ignore"):
        state = _mixed(np.asarray([seed], np.uint64) + _STEP)
        for coordinate in (int(draw), *coordinates):
            state = _mixed(state ^ (np.asarray(coordinate).astype(np.uint64) * _STEP + _STEP))
    return state if any(np.ndim(coordinate) for coordinate in coordinates) else state.reshape(())


def uniform(seed: int, draw: Draw, *coordinates: ArrayLike) -> Floats:
    """A number in [0, 1) for each point, with 53 random bits."""
    return (bits(seed, draw, *coordinates) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(size: int, seed: int, draw: Draw, *coordinates: int) -> Ints:
    """A permutation of 0 .. size - 1."""
    return np.argsort(bits(seed, draw, *coordinates, np.arange(size)), kind="stable").astype(np.int64)


def _mixed(state: Bits) -> Bits:
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))
