"""The few values that were used last."""

from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Keeps the `size` most recently used values; unlike functools.lru_cache it may be sent to another process.

    Threads may share it: the worst that happens is that a value is made twice.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: dict[K, V] = {}

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of `key`, made now if it is not here."""
        found = self._values.pop(key, None)
        value = make() if found is None else found
        self._values[key] = value
        for old in list(self._values)[: -self.size]:
            self._values.pop(old, None)
        return value
