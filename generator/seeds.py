"""Random draws that depend on their name alone: `pick(16, seed, "concept", i)` is the same on every worker.

A draw is a hash of its key, not the next number of a stream. So no draw moves when another one is added, skipped or
made by another process, and nothing of a random state has to be saved to resume.
"""

from collections.abc import Sequence
from hashlib import sha256


def seed_of(*key: int | str) -> int:
    """A 63-bit seed for the generators of torch, numpy and vLLM."""
    return int.from_bytes(sha256(repr(key).encode()).digest()[:8], "big") >> 1


def fraction(*key: int | str) -> float:
    """A number in [0, 1)."""
    return (seed_of(*key) >> 10) / 2**53


def pick(count: int, *key: int | str) -> int:
    """A number in 0 .. count - 1. With 63 random bits the bias towards small numbers is below count / 2**63."""
    return seed_of(*key) % count


def pick_weighted(weights: Sequence[float], *key: int | str) -> int:
    """An index drawn in proportion to `weights`, which need not sum to one."""
    point = fraction(*key) * sum(weights)
    for index, weight in enumerate(weights):
        point -= weight
        if point < 0:
            return index
    return max(i for i, weight in enumerate(weights) if weight > 0)  # rounding left a sliver at the end
