"""Tokenizers whose vocabulary is learnt from captions, or comes as a file that others learnt.

    wordpiece      BERT's (Schuster and Nakajima 2012; Devlin et al. 2019), by the `tokenizers` library
    sentencepiece  Kudo and Richardson 2018 (unigrams), by the library of that name

Learning is deterministic: the same captions in the same order give the same bytes.
"""

import io
import json
from collections.abc import Iterable, Sequence
from typing import Final

from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from config import ConfigError
from trainer.models.framing import Framed

UNKNOWN: Final = "[UNK]"
_SHIFT: Final = 0xF0000  # where Unicode's planes of private use begin


class WordPiece(Framed):
    """Words cut into their longest known beginnings; those of a word's rest begin with ##."""

    def __init__(self, library: Library, context: int) -> None:
        super().__init__(library.get_vocab_size(), context)
        self._library = library

    @classmethod
    def read(cls, data: bytes, context: int, file: str) -> "WordPiece":
        """From a `tokenizer.json`, or a `vocab.txt` as BERT's: one piece a line. Words are made small unless the
        list has capital letters. Raises ConfigError for anything else."""
        try:
            text = data.decode("utf-8")
            if text.lstrip().startswith("{"):
                return cls(Library.from_str(text), context)
        except Exception as error:  # noqa: BLE001  # the library raises nothing narrower
            raise ConfigError(f"objective.tokenizer.file: {file!r} is no tokenizer: {error}") from None
        entries = [line.strip() for line in text.splitlines() if line.strip()]
        if UNKNOWN not in entries or any(" " in entry for entry in entries):
            raise ConfigError(
                f"objective.tokenizer.file: {file!r} is no vocabulary of WordPiece: expected is one piece a line, "
                f"{UNKNOWN} among them, or a tokenizer.json"
            )
        capital = any(entry != entry.lower() for entry in entries if not entry.startswith("["))
        numbers = {entry: number for number, entry in enumerate(entries)}
        return cls(_wordpiece(models.WordPiece(numbers, unk_token=UNKNOWN), lowercase=not capital), context)

    def pieces(self, text: str) -> list[int]:
        numbers: list[int] = self._library.encode(text, add_special_tokens=False).ids
        return numbers

    def _text(self, numbers: Sequence[int]) -> str:
        text: str = self._library.decode(list(numbers))
        return text


class SentencePiece(Framed):
    """Pieces of whole sentences, spaces among them."""

    def __init__(self, model: bytes, context: int, file: str) -> None:
        """Raises ConfigError if these are no model's bytes."""
        try:
            if not model:
                raise RuntimeError("the library takes no bytes for no argument")
            self._library = SentencePieceProcessor(model_proto=model)
        except RuntimeError:
            raise ConfigError(f"objective.tokenizer.file: {file!r} is no model of SentencePiece") from None
        super().__init__(self._library.get_piece_size(), context)

    def pieces(self, text: str) -> list[int]:
        numbers: list[int] = self._library.encode(text)
        return numbers

    def _text(self, numbers: Sequence[int]) -> str:
        text: str = self._library.decode(list(numbers))
        return text


def learn_wordpiece(captions: Iterable[str], size: int) -> bytes:
    """At most `size` pieces, as a tokenizer.json; 0 fills up, 1 is unknown."""
    empty = _wordpiece(models.WordPiece(unk_token=UNKNOWN), lowercase=True)
    assert empty.normalizer is not None
    assert empty.pre_tokenizer is not None
    normal = (empty.normalizer.normalize_str(caption) for caption in captions)
    words = (word for text in normal for word, _ in empty.pre_tokenizer.pre_tokenize_str(text))
    # The library's own trainer numbers the letters of words' rests in an order that changes from process to process,
    # and breaks ties by these numbers. Its byte-pair trainer sorts letters: so those of rests become letters of their
    # own.
    learner = Library(models.BPE())
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=["[PAD]", UNKNOWN], show_progress=False)
    learner.train_from_iterator((word[0] + "".join(map(_as_rest, word[1:])) for word in words), trainer)
    numbers = {_as_piece(entry): number for entry, number in learner.get_vocab().items()}
    library = _wordpiece(models.WordPiece(numbers, unk_token=UNKNOWN), lowercase=True)
    return json.dumps(json.loads(library.to_str()), sort_keys=True).encode()


def learn_sentencepiece(captions: Iterable[str], size: int) -> bytes:
    """At most `size` pieces, as a model; 0 fills up, 1 is unknown. Letters are made small."""
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(captions),
        model_writer=model,
        vocab_size=size,
        hard_vocab_limit=False,  # few captions hold fewer pieces
        normalization_rule_name="nmt_nfkc_cf",
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        num_threads=1,  # sums are split by thread
        minloglevel=2,
    )
    return model.getvalue()


def _as_rest(letter: str) -> str:
    """A letter of private use that stands for this one within a word; rare letters beyond Unicode's second plane have
    none and stay themselves."""
    return chr(ord(letter) + _SHIFT) if ord(letter) < 2 * 0x10000 else letter


def _as_piece(entry: str) -> str:
    """What `_as_rest` made, in WordPiece's spelling."""
    letters = "".join(chr(ord(letter) - _SHIFT) if ord(letter) >= _SHIFT else letter for letter in entry)
    return f"##{letters}" if ord(entry[0]) >= _SHIFT else letters


def _wordpiece(model: models.WordPiece, *, lowercase: bool) -> Library:
    library = Library(model)
    library.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    return library
