"""iBOT's masks."""

import numpy as np

from trainer.masks import token_mask


def test_half_of_the_crops_have_half_of_their_tokens_masked():
    mask = token_mask(0, 5, np.arange(16), crops=16, tokens=9, masked_images=0.5, masked_tokens=0.5)
    assert sorted(mask.sum(1)) == [0] * 8 + [4] * 8


def test_ranks_see_their_rows_of_one_mask():
    whole = token_mask(0, 5, np.arange(16), 16, 9, 0.5, 0.5)
    rows = np.array([3, 4, 5, 11, 12, 13])
    assert np.array_equal(token_mask(0, 5, rows, 16, 9, 0.5, 0.5), whole[rows])


def test_every_micro_batch_has_another_one():
    one, other = (token_mask(0, micro, np.arange(16), 16, 9, 0.5, 0.5) for micro in (1, 2))
    assert not np.array_equal(one, other)


def test_every_token_is_masked_equally_often():
    """Of 400 micro-batches of 8 crops, each token is masked in a quarter, within 5 standard errors of a proportion."""
    rate = np.mean([token_mask(0, micro, np.arange(8), 8, 4, 0.5, 0.5) for micro in range(400)], axis=(0, 1))
    assert np.abs(rate - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 3200)


def test_nothing_is_masked_when_switched_off():
    assert not token_mask(0, 5, np.arange(16), 16, 9, 0.0, 0.5).any()
