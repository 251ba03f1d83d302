"""WordPiece and SentencePiece: learnt from captions, or read from files that others learnt."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from config import ConfigError
from nano import captions, world
from trainer.config import TokenizerConfig
from trainer.models.tokenizers import Tokenizer, learn, tokenizer

KINDS = ("words", "wordpiece", "sentencepiece")


def texts(count: int = 300) -> list[str]:
    rng = np.random.default_rng(0)
    return [captions.describe(world.scene(0, "train", index, pairs=0.3), rng) for index in range(count)]


def learnt(kind: str, folder: Path, size: int = 120) -> Tokenizer:
    config = TokenizerConfig.model_validate({"kind": kind, "file": "captions", "size": size, "context": 60})
    (folder / kind).write_bytes(learn(config, texts()))
    return tokenizer(config.model_copy(update={"file": str(folder / kind)}))


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_learnt_writes_captions_down_and_back(kind: str, tmp_path: Path):
    words = learnt(kind, tmp_path)
    assert words.size <= 122
    for text in texts(50):
        numbers = words(text)
        assert len(numbers) == 60
        assert numbers[0] == words.begin == words.size - 2
        assert max(numbers) == words.end == words.size - 1
        assert numbers.index(words.end) + 1 == words.length(text) == len(words.pieces(text)) + 2
        assert set(numbers[words.length(text) :]) <= {words.pad}
        back = words.decode(numbers).replace(" ", "")
        assert back == text.lower().replace(" ", "").strip(), text
    assert words.decode(words("")) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text_is_cut_and_its_end_stays(kind: str, tmp_path: Path):
    words = learnt(kind, tmp_path)
    numbers = words("a red star " * 40)
    assert (len(numbers), numbers[0], numbers[-1]) == (60, words.begin, words.end)
    assert words.length("a red star " * 40) > 60


@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_sent_to_another_process(kind: str, tmp_path: Path):
    words = learnt(kind, tmp_path)
    assert pickle.loads(pickle.dumps(words))("a red star") == words("a red star")


def test_learning_gives_the_same_bytes_in_every_process(tmp_path: Path):
    """Python's and the library's hashes are seeded anew in each."""
    code = (
        "import hashlib; from tests.trainer.models.test_pieces import *\n"
        "for kind in KINDS:\n"
        "    data = learn(TokenizerConfig(kind=kind, file='captions', size=120), texts())\n"
        "    print(kind, hashlib.sha256(data).hexdigest())"
    )
    root = str(Path(__file__).parents[3])
    runs = [subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout
    assert runs[0].stdout.count("\n") == 3, runs[0].stderr


def test_wordpiece_takes_the_longest_beginning_that_it_knows(tmp_path: Path):
    """BERT's example: unaffable is un, ##aff, ##able. A word of which a part is unknown is unknown as a whole."""
    file = tmp_path / "vocab.txt"
    file.write_text("[PAD]\n[UNK]\n[CLS]\nun\n##aff\n##able\n##ab\nthe\n")
    words = tokenizer(TokenizerConfig(kind="wordpiece", file=str(file), context=8))
    assert words("The unaffable unx") == [8, 7, 3, 4, 5, 1, 9, 0]
    assert words.decode([8, 7, 3, 4, 5, 9, 0, 0]) == "the unaffable"
    file.write_text("[PAD]\n[UNK]\nThe\nthe\n")
    assert tokenizer(TokenizerConfig(kind="wordpiece", file=str(file))).pieces("The the") == [2, 3]


def test_wordpiece_is_that_of_transformers(tmp_path: Path):
    from transformers import BertTokenizerFast

    ours = learnt("wordpiece", tmp_path)
    theirs = BertTokenizerFast(tokenizer_file=str(tmp_path / "wordpiece"))
    for text in texts(50):
        assert ours.pieces(text) == theirs(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("wordpiece", b"{}", "is no tokenizer"),
        ("wordpiece", b"a\nb\n", "is no vocabulary of WordPiece"),
        ("wordpiece", b"\xff\xfe\x00", "is no tokenizer"),
        ("sentencepiece", b"no model", "is no model of SentencePiece"),
        ("sentencepiece", b"", "is no model of SentencePiece"),
    ],
)
def test_another_file_is_refused(kind: str, content: bytes, said: str, tmp_path: Path):
    file = tmp_path / "file"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"objective\.tokenizer\.file: '.*file' {said}"):
        tokenizer(TokenizerConfig.model_validate({"kind": kind, "file": str(file)}))


def test_a_missing_file_is_said(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"objective\.tokenizer\.file: there is no '.*nowhere'"):
        tokenizer(TokenizerConfig(kind="sentencepiece", file=f"{tmp_path}/nowhere"))
    with pytest.raises(ConfigError, match="the vocabulary of wordpiece is learnt when a run begins"):
        tokenizer(TokenizerConfig(kind="wordpiece"))
    with pytest.raises(ValidationError, match="to learn one take kind wordpiece or sentencepiece"):
        TokenizerConfig(file="captions")
