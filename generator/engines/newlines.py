"""Which tokens end a caption."""

from collections.abc import Mapping

# How a newline looks in a vocabulary: as itself, in GPT-2's byte alphabet, as a byte token of SentencePiece.
_MARKS = ("\n", "\N{LATIN CAPITAL LETTER C WITH DOT ABOVE}", "<0x0A>")


def newline_ids(vocabulary: Mapping[str, int]) -> list[int]:
    """Ids of every token that holds a newline: stopping on ids spares decoding at each step."""
    return sorted(number for token, number in vocabulary.items() if any(mark in token for mark in _MARKS))
