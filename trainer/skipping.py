"""What happens to samples that cannot be used: raise, or replace and count, up to a ceiling."""

import logging
from collections.abc import Sequence

import numpy as np

from config import DataError
from trainer.draws import Draw, Ints, bits
from trainer.reading import Caption, Reader

log = logging.getLogger(__name__)

REPLACEMENTS = 10
"""Replacements tried for one sample before the data as a whole is taken to be bad."""
ENOUGH = 1000
"""Samples after which a share of bad ones says something."""
SHOWN = 20
"""Messages about bad samples that are logged one by one."""


def usable(reader: Reader, seed: int, positions: Ints) -> tuple[list[Caption], list[str]]:
    """The captions at these positions of the order, and a message for each that had to be replaced.

    A replacement is drawn from the position it fills, so every rank layout and every restart finds the same one.

    Raises DataError for a bad sample if `batch.bad_samples` is "raise", and if no replacement can be used either.
    """
    found = reader.read([int(number) for number in reader.order.samples(positions)])
    captions: list[Caption] = []
    messages: list[str] = []
    for position, one in zip(positions, found, strict=True):
        problems = list[str]()
        while isinstance(one, DataError):
            if reader.config.bad_samples == "raise":
                raise one
            problems.append(str(one))
            if len(problems) > REPLACEMENTS:
                raise DataError(f"{len(problems)} samples in a row cannot be used; the first: {problems[0]}")
            draw = bits(seed, Draw.REPLACEMENT, int(position), len(problems))
            one = reader.read([int(draw % np.uint64(reader.order.total))])[0]
        captions.append(one)
        messages += problems
    return captions, messages


class Tally:
    """Counts the samples of this rank, good and bad, and stops the run when too many are bad."""

    def __init__(self, ceiling: float, captions: int) -> None:
        """`captions` of one epoch: a share is not believed before that many, or `ENOUGH`, have been read."""
        self.ceiling, self.floor = ceiling, min(captions, ENOUGH)
        self.read = self.bad = 0

    def add(self, read: int, messages: Sequence[str]) -> None:
        """Raises DataError once the share of bad samples is above the ceiling."""
        for message in messages[: max(0, SHOWN - self.bad)]:
            log.warning("skipped: %s", message)
        self.read += read
        self.bad += len(messages)
        if self.bad > self.ceiling * max(self.read, self.floor):
            raise DataError(
                f"{self.bad} of {self.read} samples could not be used, more than batch.bad_ceiling "
                f"({self.ceiling:g}) allows; the last: {messages[-1]}"
            )
