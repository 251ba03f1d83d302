"""The order of the samples."""

import numpy as np

from trainer.draws import Ints
from trainer.order import Order

COUNTS = [5, 3, 7, 4, 6]


def sequence(order: Order, length: int) -> Ints:
    return order.samples(np.arange(length))


def test_every_epoch_has_every_sample_once_and_an_order_of_its_own():
    epochs = sequence(Order(COUNTS, seed=0, window=2), 3 * 25).reshape(3, 25)
    for epoch in epochs:
        assert sorted(epoch) == list(range(25))
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_any_position_may_be_asked_for_alone_and_in_any_order():
    whole = sequence(Order(COUNTS, seed=0, window=2), 100)
    shuffled = np.random.default_rng(0).permutation(100)
    fresh = Order(COUNTS, seed=0, window=2)
    assert np.array_equal(fresh.samples(shuffled), whole[shuffled])
    assert [int(fresh.samples(np.array([p]))[0]) for p in (99, 0, 50)] == [whole[p] for p in (99, 0, 50)]


def test_ranks_of_any_number_cover_the_same_batches():
    """Batch t is positions [t * B, (t + 1) * B) however it is striped."""
    whole = sequence(Order(COUNTS, seed=0, window=2), 96).reshape(8, 12)
    for world in (1, 2, 3, 4):
        order = Order(COUNTS, seed=0, window=2)
        share = 12 // world
        for step in range(8):
            stripes = [order.samples(step * 12 + np.arange(rank * share, (rank + 1) * share)) for rank in range(world)]
            assert np.array_equal(np.concatenate(stripes), whole[step])


def test_a_window_of_one_reads_one_shard_at_a_time():
    order = Order(COUNTS, seed=0, window=1)
    shards = [order.place(int(number))[0] for number in sequence(order, 25)]
    changes = [shard for index, shard in enumerate(shards) if index == 0 or shards[index - 1] != shard]
    assert sorted(changes) == [0, 1, 2, 3, 4]


def test_a_window_mixes_that_many_shards_and_no_more():
    order = Order([10] * 6, seed=0, window=3)
    shards = np.array([order.place(int(number))[0] for number in sequence(order, 60)])
    first, second = set(shards[:30]), set(shards[30:])
    assert len(first) == len(second) == 3
    assert not first & second


def test_seeds_give_different_orders():
    assert not np.array_equal(sequence(Order(COUNTS, 0, 2), 25), sequence(Order(COUNTS, 1, 2), 25))


def test_place_finds_shard_and_index():
    order = Order(COUNTS, seed=0, window=2)
    assert [order.place(number) for number in (0, 4, 5, 7, 8, 24)] == [(0, 0), (0, 4), (1, 0), (1, 2), (2, 0), (4, 5)]
