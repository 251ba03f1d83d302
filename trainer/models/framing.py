"""What all tokenizers have in common: begin, end, fill, cut, and the way back."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Protocol

PAD: Final = 0


class Tokenizer(Protocol):
    """May be sent to another process."""

    size: int
    """Numbers there are."""
    context: int
    """Numbers that a call gives."""
    pad: int
    """Fills up: 0."""
    begin: int
    """The last number but one."""
    end: int
    """The largest number, by which the text tower finds it."""

    def __call__(self, text: str) -> list[int]:
        """`context` numbers: begin, the text, end, filling. A long text is cut so that its end stays."""
        ...

    def pieces(self, text: str) -> list[int]:
        """The numbers of the text alone."""
        ...

    def length(self, text: str) -> int:
        """Numbers of the text with begin and end, if it were not cut."""
        ...

    def decode(self, numbers: Sequence[int]) -> str:
        """The text of numbers up to their end, as far as they tell (lower case, spaces, unknown words)."""
        ...


class Framed(ABC):
    """Base of tokenizers that give the `own` numbers from 0; begin and end come after them."""

    pad: int = PAD

    def __init__(self, own: int, context: int) -> None:
        self.size, self.context = own + 2, context
        self.begin, self.end = own, own + 1

    def __call__(self, text: str) -> list[int]:
        inner = self.pieces(text)[: self.context - 2]
        return [self.begin, *inner, self.end, *[self.pad] * (self.context - 2 - len(inner))]

    def length(self, text: str) -> int:
        return len(self.pieces(text)) + 2

    def decode(self, numbers: Sequence[int]) -> str:
        # Filling may be a piece too (CLIP's "!"), so it is told by its place after the end.
        until = list(numbers).index(self.end) if self.end in numbers else len(numbers)
        return self._text([number for number in numbers[:until] if number != self.begin])

    @abstractmethod
    def pieces(self, text: str) -> list[int]: ...

    @abstractmethod
    def _text(self, numbers: Sequence[int]) -> str: ...
