import gzip
from pathlib import Path

import numpy as np
import pytest

from config import ConfigError
from nano import captions, vocabulary, world
from trainer.concepts import LISTS, classes_of, read_list
from trainer.config import CLIPConfig, StableRepConfig, SupervisedConfig, TokenizerConfig
from trainer.models.clip_bpe import read_merges
from trainer.models.tokenizers import ClipBPE, Words, text_of, tokenizer

MERGES = [("l", "o"), ("lo", "w</w>"), ("e", "r</w>"), ("lo", "w")]


def test_words_by_hand():
    """0 fills, 1 is unknown, a is 2, star 3, begin 4, end 5."""
    words = Words(["a", "star"], context=6)
    assert words("A red star") == [4, 2, 1, 3, 5, 0]
    assert words("a a a a a a a") == [4, 2, 2, 2, 2, 5], "cut, and its end stays"
    assert words.size == 6


def test_the_small_worlds_words_are_all_on_the_list():
    """A thousand captions of its grammar, some with two things, and its lists of concepts."""
    words = tokenizer(TokenizerConfig(kind="words", context=40))
    rng = np.random.default_rng(0)
    for index in range(1000):
        text = captions.describe(world.scene(0, "train", index, pairs=0.3), rng)
        assert 1 not in words.pieces(text), text
    assert read_list("", str(LISTS / "nano_concepts.txt")) == [
        *vocabulary.SHAPES,
        *vocabulary.BACKGROUNDS,
        *vocabulary.TEXTURES,
    ]


def test_byte_pairs_are_joined_in_the_order_of_the_list():
    """low is l o w</w>, lo w</w>, low</w>: the second merge, number 512 + 1. lower is lo w er</w>: w joins lo by the
    fourth merge, number 512 + 3, after e r</w>, the third."""
    bpe = ClipBPE(MERGES, context=6)
    assert bpe.pieces("low") == [513]
    assert bpe.pieces("Lower") == [515, 514]
    assert bpe.size == 512 + 4 + 2
    assert bpe("low") == [516, 513, 517, 0, 0, 0]


def test_text_is_cut_into_words_as_clip_does():
    """Letters together, digits one by one, other signs together, and 's by itself; entities and spaces resolved."""
    bpe = ClipBPE(MERGES, context=77)
    single = {letter: bpe.pieces(letter)[0] for letter in "a19&!"}
    assert bpe.pieces("a  19 &amp;amp; !") == [single[letter] for letter in "a19&!"]
    assert len(bpe.pieces("it's")) == 4
    assert bpe.pieces("!")[0] == 256, "the first byte in CLIP's order, at the end of a word"
    assert len(bpe.pieces("é")) == 2, "two bytes"


def test_merges_come_from_openais_file(tmp_path: Path):
    text = "#version\n" + "\n".join(" ".join(pair) for pair in MERGES) + "\n"
    plain, packed = tmp_path / "merges.txt", tmp_path / "merges.txt.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_merges(str(plain)) == read_merges(str(packed)) == MERGES
    assert tokenizer(TokenizerConfig(file=str(packed)))("low")[:3] == [516, 513, 517]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "no list of merges"), (b"x\na b c\n", "no list of merges"), (b"\xff\xfe", "cannot read")],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes, said: str):
    file = tmp_path / "merges.txt"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_merges(str(file))


def test_only_objectives_that_read_text_have_a_tokenizer():
    words = TokenizerConfig(kind="words")
    assert text_of(CLIPConfig(tokenizer=words)) is not None
    assert text_of(StableRepConfig(tokenizer=words, text_weight=1.0)) is not None
    assert text_of(StableRepConfig(tokenizer=words)) is None
    assert text_of(SupervisedConfig()) is None


def test_classes_are_the_lines_of_a_file(tmp_path: Path):
    file = tmp_path / "concepts.txt"
    file.write_text("cat\n\ndog\n")
    assert classes_of(SupervisedConfig(classes=str(file))) == {"cat": 0, "dog": 1}
    file.write_text("cat\ndog\ncat\n")
    with pytest.raises(ConfigError, match=r"objective\.classes: .* has 'cat' 2 times"):
        classes_of(SupervisedConfig(classes=str(file)))
