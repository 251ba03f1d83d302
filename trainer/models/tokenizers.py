"""From a caption to numbers: the tokenizers by name.

    words          one number for each word of a list; for small worlds, where a list holds all words
    clip_bpe       CLIP's byte pairs; its merges come with the trainer
    wordpiece      BERT's pieces of words
    sentencepiece  pieces of sentences

The list of `words`, the pieces of `wordpiece` and of `sentencepiece` can be a file, or be learnt from the captions of
the run (trainer/vocabulary.py).
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from config import ConfigError
from shards import Storage
from trainer.concepts import LISTS, read_list
from trainer.config import ObjectiveConfig, TokenizerConfig
from trainer.models.clip_bpe import ClipBPE, read_merges
from trainer.models.framing import PAD, Framed, Tokenizer
from trainer.models.pieces import SentencePiece, WordPiece, learn_sentencepiece, learn_wordpiece

__all__ = ["PAD", "ClipBPE", "SentencePiece", "Tokenizer", "WordPiece", "Words", "learn", "text_of", "tokenizer"]

_WORD = re.compile(r"[^\W_]+|[^\w\s]|_")


class Words(Framed):
    """Number 0 fills up, 1 is any word that is not on the list."""

    def __init__(self, words: Sequence[str], context: int) -> None:
        super().__init__(len(words) + 2, context)
        self._words = ["", "?", *words]
        self._numbers = {word: number for number, word in enumerate(words, start=2)}

    def pieces(self, text: str) -> list[int]:
        return [self._numbers.get(word, 1) for word in _WORD.findall(text.lower())]

    def _text(self, numbers: Sequence[int]) -> str:
        return " ".join(self._words[number] for number in numbers)


def text_of(config: ObjectiveConfig) -> Tokenizer | None:
    """The tokenizer of an objective that reads text."""
    return tokenizer(config.reads) if config.reads else None


def tokenizer(config: TokenizerConfig) -> Tokenizer:
    """Raises ConfigError naming the file if it cannot be read."""
    file, context = config.file, config.context
    if config.learnt:
        raise ConfigError(
            f"objective.tokenizer.file: the vocabulary of {config.kind} is learnt when a run begins, and this is "
            "none; give a file"
        )
    if config.kind == "clip_bpe":
        return ClipBPE(read_merges(file or str(LISTS / "clip_merges.txt.gz")), context)
    if config.kind == "wordpiece":
        return WordPiece.read(_read(file), context, file)
    if config.kind == "sentencepiece":
        return SentencePiece(_read(file), context, file)
    if "://" in file:
        return Words(_read(file).decode().splitlines(), context)
    return Words(read_list("objective.tokenizer.file", file or str(LISTS / "nano_words.txt")), context)


def learn(config: TokenizerConfig, captions: Iterable[str]) -> bytes:
    """The file of a vocabulary of at most `config.size`, learnt from captions."""
    if config.kind == "wordpiece":
        return learn_wordpiece(captions, config.size)
    if config.kind == "sentencepiece":
        return learn_sentencepiece(captions, config.size)
    counts = Counter(word for caption in captions for word in _WORD.findall(caption.lower()))
    most = sorted(counts, key=lambda word: (-counts[word], word))[: config.size]
    return "".join(f"{word}\n" for word in most).encode()


def _read(file: str) -> bytes:
    """A path, or a URI, as a run's own root may be."""
    folder, _, name = file.rpartition("/")
    try:
        return Storage(folder or ("/" if file.startswith("/") else ".")).read(name)
    except FileNotFoundError:
        raise ConfigError(f"objective.tokenizer.file: there is no {file!r}") from None
