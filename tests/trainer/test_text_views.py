"""Two views of a caption: what is masked, what is changed, and what that depends on."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from config import ConfigError
from trainer.config import CLIPConfig, DeCLIPConfig, TextViewsConfig, TokenizerConfig
from trainer.models.tokenizers import PAD, Words
from trainer.text_views import NOTHING, TextViews, read_synonyms, text_views_of, with_mask

LETTERS = [chr(ord("a") + number) for number in range(20)]
WORDS = Words(LETTERS, context=24)  # 20 words, numbers 2 to 21; begin 22, end 23
MASK, END = 23, 24
TEXT = " ".join(LETTERS)


def views(synonyms: str = "", seed: int = 0, **changes: float) -> TextViews:
    return TextViews(TextViewsConfig(synonyms=synonyms, **changes), WORDS, seed)


def draws(which: float, *others: float) -> np.ndarray:
    return np.array([which, *others])


def test_the_end_stays_the_largest_number():
    assert with_mask(WORDS("a b"), WORDS.size)[:4] == [22, 2, 3, END]
    assert max(views().masked(TEXT, 0)[0]) == END


def test_of_the_words_15_percent_are_guessed_and_80_10_and_10_percent_of_them_treated():
    """20,000 words: 15 % within 3 of its deviations (0.0025), and shares of the 3,000 within 3 of theirs (0.0073)."""
    made, counts = views(), Counter[str]()
    plain = with_mask(WORDS(TEXT), WORDS.size)
    for position in range(1000):
        numbers, guesses = made.masked(TEXT, position)
        for place, guess in enumerate(guesses):
            if guess == NOTHING:
                assert numbers[place] == plain[place]
            else:
                assert guess == plain[place]
                now = numbers[place]
                counts["mask" if now == MASK else "left" if now == guess else "other"] += 1
                assert now == MASK or 0 < now < 22
    asked = sum(counts.values())
    assert asked / 20_000 == pytest.approx(0.15, abs=0.0076)
    assert counts["mask"] / asked == pytest.approx(0.8, abs=0.022)
    assert counts["other"] / asked == pytest.approx(0.1, abs=0.017)


def test_begin_end_and_filling_are_never_guessed():
    numbers, guesses = views(masked=1.0).masked("a b", 0)
    assert [guess != NOTHING for guess in guesses] == [False, True, True] + [False] * 21
    assert (numbers[0], numbers[3], set(numbers[4:])) == (22, END, {PAD})


def test_operations_by_hand(tmp_path: Path):
    """The first draw chooses one of three. Replaced: of b and c, which have synonyms, the second at a draw of 0.9.
    Swapped: the first word (0.1 of 3) with the one a step further (1 + 0.1 of 2); the last with the one two steps
    further, round the end. Deleted: the words whose draws are below 0.1."""
    file = tmp_path / "synonyms.txt"
    file.write_text("b d\nc e f\n")
    with_synonyms = views(str(file))
    words = ["a", "b", "c"]
    assert with_synonyms.operated(words, draws(0.0, 0.9, 0.6, 1, 1, 1)) == ["a", "b", "f"]
    assert with_synonyms.operated(words, draws(0.5, 0.1, 0.1, 1, 1, 1)) == ["b", "a", "c"]
    assert with_synonyms.operated(words, draws(0.9, 0.5, 0.5, 0.05, 0.5, 0.09)) == ["b"]
    assert views().operated(words, draws(0.4, 0.9, 0.9, 1, 1, 1)) == ["a", "c", "b"], "without synonyms, one of two"


def test_an_operation_with_nothing_to_do_leaves_the_text():
    assert views("nano").operated(["a"], draws(0.0, 0, 0, 1)) == ["a"]
    assert views().operated(["a"], draws(0.0, 0, 0, 1)) == ["a"]
    assert views(deleted=1.0).operated(["a", "b"], draws(0.9, 0.6, 0, 0, 0)) == ["b"], "one word stays"
    assert views().changed("", 3) == with_mask(WORDS(""), WORDS.size)


def test_a_view_depends_on_seed_place_and_text_alone():
    one, again, other = views(), views(), views(seed=1)
    assert [one.changed(TEXT, p) for p in range(9)] == [again.changed(TEXT, p) for p in reversed(range(9))][::-1]
    assert [one.masked(TEXT, p) for p in range(9)] == [again.masked(TEXT, p) for p in reversed(range(9))][::-1]
    assert [one.changed(TEXT, p) for p in range(9)] != [other.changed(TEXT, p) for p in range(9)]
    assert one.masked(TEXT, 0) != one.masked(TEXT, 1)


def test_synonyms_of_a_line_stand_for_one_another(tmp_path: Path):
    assert read_synonyms("nano")["big"] == ["huge", "large"]
    assert read_synonyms("") == {}
    file = tmp_path / "alone.txt"
    file.write_text("a b\nc\n")
    with pytest.raises(ConfigError, match=r"objective\.text_view\.synonyms: .* has 'c' alone in a line"):
        read_synonyms(str(file))
    with pytest.raises(ConfigError, match=r"objective\.text_view\.synonyms: cannot read '/no/where'"):
        read_synonyms("/no/where")


def test_only_objectives_that_want_views_have_them():
    words = TokenizerConfig(kind="words")
    assert text_views_of(DeCLIPConfig(tokenizer=words), 0)
    assert text_views_of(CLIPConfig(tokenizer=words), 0) is None
