"""What the training loop knows about an objective."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

Embedded = Mapping[str, Tensor]
"""What a comparison needs of samples, by name: features (floating point) and labels, each with samples as rows, so that
those of two batches can be joined."""


class Objective(Protocol):
    """A loss, the networks it trains, and the state it keeps between steps.

    `loss` changes nothing: called twice on the same batch (and random state) it gives the same. State (the teacher,
    queues, counters) moves in `after_step` alone, and lives in `modules()`, so that a checkpoint has all of it.
    """

    batch_keys: tuple[str, ...]
    """The tensors `loss` reads from a batch."""

    def modules(self) -> nn.Module:
        """Everything that is trained or saved. Frozen parameters have `requires_grad` False."""
        ...

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to minimise, and metrics by name (0-dimensional, detached).

        Both are this rank's; their mean over ranks is the value of the global batch, and so is the mean of gradients.
        """
        ...

    def after_step(self, step: int) -> None:
        """Move the state. Once per optimiser step that changed the weights, with that step's 0-based number."""
        ...

    def encoder(self) -> nn.Module:
        """The network that is evaluated and exported: normalised images [N, 3, H, W] to features [N, D]."""
        ...


@runtime_checkable
class Comparing(Objective, Protocol):
    """An objective whose loss compares samples with one another, so that parts of a batch cannot be taken one by one.

    `loss(batch)` is `compare(embed(batch))`. Where a step has several micro-batches, `compare` sees the rows of all
    (`trainer/together.py`).
    """

    def embed(self, batch: Mapping[str, Tensor]) -> Embedded:
        """What each sample says for itself: the networks' part."""
        ...

    def compare(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and metrics, as `loss` returns them."""
        ...

    def shared(self) -> list[nn.Parameter]:
        """The parameters that `compare` itself uses (a learned temperature). Small: they are not split over ranks."""
        ...
