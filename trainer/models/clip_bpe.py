"""CLIP's byte pairs (Radford et al. 2021; Sennrich et al. 2016), by the `tokenizers` library.

Text is mended (ftfy), entities and runs of spaces are resolved, letters made small; it is cut into runs of letters,
single digits, runs of other signs, and 's 't 're 've 'm 'll 'd; their bytes are joined pair by pair in the order of the
merges.

What deviates: the words <start_of_text> and <end_of_text> in a caption are words like others. In open_clip they are
begin and end, so that a caption could cut itself off.
"""

import gzip
import html
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final

import ftfy
from tokenizers import Regex, models, pre_tokenizers
from tokenizers import Tokenizer as Library

from config import ConfigError
from trainer.models.framing import Framed

MERGES: Final = 49152 - 256 - 2
"""Of the lines of OpenAI's file, those that CLIP uses: its vocabulary has 49408 entries."""
_PIECE: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
_LAST: Final = "</w>"  # of a word's last piece


class ClipBPE(Framed):
    """The numbers: 256 bytes, the same at the end of a word, one for each merge, begin, end. Number 0 is the byte "!"
    and fills up too, as in CLIP."""

    def __init__(self, merges: Sequence[tuple[str, str]], context: int) -> None:
        letters = list(letter_of_byte().values())
        self._entries = [*letters, *(letter + _LAST for letter in letters), *(a + b for a, b in merges)]
        super().__init__(len(self._entries), context)
        numbers = {entry: number for number, entry in enumerate(self._entries)}
        self._library = Library(models.BPE(numbers, list(merges), end_of_word_suffix=_LAST))
        pieces = pre_tokenizers.Split(Regex(_PIECE), "removed", invert=True)
        by_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self._library.pre_tokenizer = pre_tokenizers.Sequence([pieces, by_bytes])

    def pieces(self, text: str) -> list[int]:
        mended = html.unescape(html.unescape(ftfy.fix_text(text)))
        numbers: list[int] = self._library.encode(" ".join(mended.split()).lower(), add_special_tokens=False).ids
        return numbers

    def _text(self, numbers: Sequence[int]) -> str:
        bytes_of = {letter: byte for byte, letter in letter_of_byte().items()} | {" ": ord(" ")}
        letters = "".join(self._entries[number].replace(_LAST, " ") for number in numbers)
        return bytes(bytes_of[letter] for letter in letters).decode("utf-8", "replace").strip()


def read_merges(file: str) -> list[tuple[str, str]]:
    """The merges of OpenAI's file (packed or not): after a first line, one pair of pieces a line, `MERGES` of them."""
    try:
        data = Path(file).read_bytes()
        text = (gzip.decompress(data) if file.endswith(".gz") else data).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ConfigError(f"objective.tokenizer.file: cannot read {file!r}: {error}") from None
    pairs = [line.split() for line in text.split("\n")[1 : 1 + MERGES] if line.strip()]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ConfigError(f"objective.tokenizer.file: {file!r} is no list of merges: two pieces a line are expected")
    return [(first, second) for first, second in pairs]


@lru_cache
def letter_of_byte() -> Mapping[int, str]:
    """A printable letter for every byte, in CLIP's order: printable Latin-1 stands for itself, the rest for letters
    from 256 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + index) for index, byte in enumerate(rest)}
