from collections import Counter

import pytest

from generator.seeds import fraction, pick, pick_weighted, seed_of


def test_a_draw_depends_on_its_key_alone() -> None:
    first = [pick(1000, 7, "concept", i) for i in range(5)]
    for i in range(100):
        pick(10, 7, "another draw", i)
    assert [pick(1000, 7, "concept", i) for i in range(5)] == first


def test_draws_stay_the_same_for_ever() -> None:
    # A release that moves them would make other captions from the same config.
    assert seed_of(0, "image", 12, 3) == 6717684757775827135
    assert pick(16, 0, "concept", 5) == 15


def test_a_number_and_its_text_are_different_keys() -> None:
    assert seed_of(1, 2) != seed_of(1, "2") != seed_of(12)


def test_seeds_fit_in_63_bits_and_fractions_in_one() -> None:
    assert all(0 <= seed_of("seed", i) < 2**63 for i in range(1000))
    assert all(0 <= fraction("fraction", i) < 1 for i in range(1000))
    assert sum(fraction("mean", i) for i in range(1000)) / 1000 == pytest.approx(0.5, abs=0.05)


def test_weights_are_shares_and_zero_is_never_drawn() -> None:
    drawn = Counter(pick_weighted([0.44, 0.0, 0.11, 0.45], "mix", i) for i in range(10_000))
    assert drawn[1] == 0
    assert [drawn[i] / 10_000 for i in (0, 2, 3)] == pytest.approx([0.44, 0.11, 0.45], abs=0.02)
