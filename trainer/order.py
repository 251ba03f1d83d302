"""The order of the samples: one endless sequence that depends on the seed and the shards, and on nothing else.

An epoch permutes the shards, then the samples within every `window` shards of that permutation, so that a reader has
few shards open at a time. Epochs follow each other without a gap. Batch t is positions [t * B, (t + 1) * B), whoever
reads them: number of ranks, workers and restarts play no part.
"""

from collections.abc import Sequence

import numpy as np

from trainer.draws import Draw, Ints, permutation
from trainer.recent import Recent


class Order:
    """The sequence over shards with `counts` samples each. Asking for any position costs the same."""

    def __init__(self, counts: Sequence[int], seed: int, window: int) -> None:
        self.counts: Ints = np.asarray(counts, np.int64)
        self.seed = seed
        self.window = window
        self.first: Ints = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.counts)])
        """Number of the first sample of each shard, when all samples are numbered shard by shard."""
        self.total = int(self.first[-1])
        """Samples of one epoch."""
        # Two epochs, and a few windows at once, is what batches that straddle them need.
        self._epochs = Recent[int, tuple[Ints, Ints]](2)
        self._windows = Recent[tuple[int, int], Ints](4)

    def samples(self, positions: Ints) -> Ints:
        """Number of the sample at each position: `first[shard]` + its index in that shard."""
        found = np.empty(len(positions), np.int64)
        epochs = positions // self.total
        for epoch in np.unique(epochs):
            here = np.flatnonzero(epochs == epoch)
            found[here] = self._in_epoch(int(epoch), positions[here] - epoch * self.total)
        return found

    def place(self, sample: int) -> tuple[int, int]:
        """Shard and index in it of a sample's number."""
        shard = int(np.searchsorted(self.first, sample, side="right")) - 1
        return shard, int(sample - self.first[shard])

    def _in_epoch(self, epoch: int, offsets: Ints) -> Ints:
        _, starts = self._epoch(epoch)
        windows = np.searchsorted(starts, offsets, side="right") - 1
        found = np.empty(len(offsets), np.int64)
        for window in np.unique(windows):
            here = windows == window
            found[here] = self._window(epoch, int(window))[offsets[here] - starts[window]]
        return found

    def _epoch(self, epoch: int) -> tuple[Ints, Ints]:
        return self._epochs.get(epoch, lambda: self._plan_epoch(epoch))

    def _window(self, epoch: int, window: int) -> Ints:
        return self._windows.get((epoch, window), lambda: self._plan_window(epoch, window))

    def _plan_epoch(self, epoch: int) -> tuple[Ints, Ints]:
        """Shards in the order of the epoch, and the offset in the epoch at which each window starts."""
        shards = permutation(len(self.counts), self.seed, Draw.SHARDS, epoch)
        ends = np.cumsum(self.counts[shards])
        return shards, np.concatenate([np.zeros(1, np.int64), ends[self.window - 1 : -1 : self.window]])

    def _plan_window(self, epoch: int, window: int) -> Ints:
        """Numbers of the samples of one window, in the order of the epoch."""
        shards, _ = self._epoch(epoch)
        inside = shards[window * self.window : (window + 1) * self.window]
        numbers = np.concatenate([np.arange(self.first[shard], self.first[shard + 1]) for shard in inside])
        return numbers[permutation(len(numbers), self.seed, Draw.WINDOW, epoch, window)]
