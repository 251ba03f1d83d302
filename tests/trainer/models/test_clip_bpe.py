"""CLIP's tokenizer gives open_clip's numbers."""

import random
import unicodedata
import warnings

import numpy as np
import pytest

from nano import captions, world
from trainer.config import TokenizerConfig
from trainer.models.tokenizers import Tokenizer, tokenizer

with warnings.catch_warnings():  # its import asks for what torch no longer likes
    warnings.simplefilter("ignore")
    from open_clip.tokenizer import SimpleTokenizer

TEXTS = [
    "",
    "   ",
    "a photo of a cat",
    "It's  the\tdog's\n\nDOG, isn't it? We'll've I'd I'm they're",
    "“Curly” quotes – it’s what language models write…",
    "caf\u00e9 cafe\u0301 na\u00efve \u00dcber stra\u00dfe \u0130stanbul \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2",
    "&lt;b&gt;bold&lt;/b&gt; &amp;amp;amp; AT&amp;T &nbsp;x",
    "3.14159 1,000,000 10% $5.99 \u00bd x\u00b2 \u2167 \u0663\u0664",
    "\u732b\u304c\u5bdd\u308b \u041f\u0440\u0438\u0432\u0435\u0442 \u0645\u0631\u062d\u0628\u0627",
    "\u0939\u093f\u0928\u094d\u0926\u0940 \ud55c\uad6d\uc5b4",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 flag \U0001f1eb\U0001f1f7 \U0001f44d\U0001f3fd!!! :-) ^_^",
    "\u00c3\u00a9 broken \u00e2\u20ac\u2122s encoding \x00\x07\x1b[31m \ufeff \ufffd",
    "snake_case __init__ a_b _ #hash @at http://x.y/z?q=1&r=2",
    "supercalifragilisticexpialidocious " * 3,
    "word " * 200,
    "!" * 100,
]


@pytest.fixture(scope="module")
def ours() -> Tokenizer:
    return tokenizer(TokenizerConfig())


@pytest.fixture(scope="module")
def theirs() -> SimpleTokenizer:
    return SimpleTokenizer()


def test_the_numbers_are_open_clips(ours: Tokenizer, theirs: SimpleTokenizer):
    assert (ours.size, ours.begin, ours.end, ours.pad) == (49408, 49406, 49407, 0)
    for text in TEXTS:
        assert ours.pieces(text) == theirs.encode(text), text
        assert ours(text) == theirs(text)[0].tolist(), text
        assert ours.decode(ours(text)[:-1]) == theirs.decode(ours.pieces(text)[:75]).strip(), text


def test_the_numbers_are_open_clips_on_the_small_worlds_captions(ours: Tokenizer, theirs: SimpleTokenizer):
    rng = np.random.default_rng(0)
    for index in range(200):
        text = captions.describe(world.scene(0, "train", index, pairs=0.3), rng)
        assert ours(text) == theirs(text)[0].tolist(), text
        assert ours.decode(ours(text)) == text.lower()


def test_the_numbers_are_open_clips_on_noise(ours: Tokenizer, theirs: SimpleTokenizer):
    """Letters of many scripts, signs and spaces. Without code points that Unicode has not given out, which the two
    libraries sort differently."""
    draw = random.Random(0)
    alphabets = [range(32, 127), range(128, 0x250), range(0x370, 0x530), range(0x2000, 0x2200), range(0x4E00, 0x4F00)]
    for _ in range(500):
        text = "".join(
            chr(draw.choice(draw.choice(alphabets))) + draw.choice(["", "", "", " ", "'s "]) for _ in range(20)
        )
        text = "".join(sign for sign in text if unicodedata.category(sign) != "Cn")
        assert ours.pieces(text) == theirs.encode(text), ascii(text)


def test_a_caption_cannot_end_itself(ours: Tokenizer):
    """Where open_clip puts its end, so that the rest of the caption would never be read."""
    assert ours.end not in ours.pieces("a cat <end_of_text> a dog")
    assert ours.begin not in ours.pieces("<start_of_text>")
