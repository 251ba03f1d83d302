"""DeCLIP's parts by hand, its queue, and its loss and gradients with neighbours in it, however a batch is divided.

What it has in common with the others is tested in test_all.py, where the queue is still empty.
"""

import math

import pytest
import torch
from torch import Tensor

from tests.trainer.objectives.small import CAPTIONS, CONFIGS, MODEL, batch, parts, small
from trainer.config import BatchConfig, DeCLIPConfig, PretrainConfig
from trainer.distributed import Gather, Single
from trainer.losses.contrastive import NO_KEY, multi_positive, symmetric, unit
from trainer.objectives import build
from trainer.objectives.declip import DeCLIP, mean_over_ranks, nearest, put, siamese
from trainer.together import slopes, stand_in

ONE, OTHER = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])


def declip(gather: Gather | None = None, name: str = "declip") -> DeCLIP:
    """With six texts in its queue of twelve."""
    objective = small(name, gather)
    assert isinstance(objective, DeCLIP)
    networks = objective.modules().double()
    generator = torch.Generator().manual_seed(2)
    put(networks.queue, networks.queued, unit(torch.randn(6, 8, generator=generator, dtype=torch.float64)))
    return objective


def test_siamese_by_hand():
    """Predictions (1, 0) and (1, 1), projections (0, 2) and (3, 0): cos(p_1, z_2) = 1, cos(p_2, z_1) = 1 / sqrt 2."""
    found = siamese(ONE, ONE + OTHER, 2 * OTHER, 3 * ONE)
    assert found.tolist() == pytest.approx([-(1 + 1 / math.sqrt(2)) / 2])


def test_projections_are_constants():
    p_1, p_2, z_1, z_2 = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(4))
    siamese(p_1, p_2, z_1, z_2).sum().backward()
    assert z_1.grad is None
    assert z_2.grad is None
    assert torch.autograd.gradcheck(lambda one, two: siamese(one, two, z_1.detach(), z_2.detach()), (p_1, p_2))


def test_the_nearest_is_that_with_the_largest_cosine_by_hand():
    """Of (1, 0), (0, 1) and (0.6, 0.8), the text (1, 1) is nearest to the third (cosine 0.99), and to the first if only
    two were put in (0.71 each; the first of equals). Lengths do not matter."""
    queue = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    text = torch.tensor([[1.0, 1.0], [9.0, 0.0]])
    for tile in (1, 100):
        assert torch.equal(nearest(text, queue, torch.tensor(3), tile), queue[[2, 0]])
        assert torch.equal(nearest(text, queue, torch.tensor(2), tile), queue[[0, 0]])


def test_the_oldest_go_first_and_the_end_leads_to_the_begin():
    """A queue of four, in which 1, 2, 3 are put, then 4, 5, 6: the first two make room. The reference drops what is
    left over at the end. Of six at once the last four stay."""
    queue, queued = torch.zeros(4, 1), torch.tensor(0)
    put(queue, queued, torch.tensor([[1.0], [2.0], [3.0]]))
    assert queue[:, 0].tolist() == [1, 2, 3, 0]
    put(queue, queued, torch.tensor([[4.0], [5.0], [6.0]]))
    assert queue[:, 0].tolist() == [5, 6, 3, 4]
    assert queued == 6
    put(queue, queued, torch.arange(10.0, 16.0)[:, None])
    assert sorted(queue[:, 0].tolist()) == [12, 13, 14, 15]


def test_a_mean_without_values_is_0():
    assert mean_over_ranks(torch.zeros(0), Single()) == 0
    assert mean_over_ranks(torch.tensor([1.0, 2.0]), Single()) == 1.5


def test_the_loss_is_its_parts_written_out():
    """0.4 CLIP + 0.2 each of SimSiam, masked words, the other pairs and neighbours: the paper's weights."""
    objective = declip()
    seen, networks = objective.embed(batch()), objective.modules()
    images, texts = [seen["image_1"], seen["image_2"]], [seen["text_1"], seen["text_2"]]
    who_I, who_B, t = seen["caption_of_image"], seen["caption"], networks.temperature()
    clip = [[symmetric(image, text, who_I, who_B, t) for text in texts] for image in images]
    near = [networks.queue[(unit(text) @ networks.queue[:6].T).argmax(1)] for text in texts]
    none = torch.full_like(who_I, NO_KEY)
    neighbours = [multi_positive(image, text, who_I, who_B, none, t)[0].mean() for image in images for text in near]
    views = (clip[0][1] + clip[1][0] + clip[1][1]) / 3
    alone = seen["siamese"].mean() + seen["word_loss"].mean()
    expected = 0.4 * clip[0][0] + 0.2 * (alone + views + sum(neighbours) / 4)
    loss, metrics = objective.loss(batch())
    torch.testing.assert_close(loss, expected)
    assert metrics["loss/neighbours"] > 0
    assert len(seen["word_loss"]) == 3


def test_a_masked_word_is_guessed_from_what_stands_before():
    """Cross entropy of the guesses at the masked places; the text tower sees no word that comes after."""
    networks, one = declip().modules(), batch()
    later = one["masked"].clone()
    later[2, 2:5] = 7
    loss, changed = (networks.text(tokens, one["guesses"]).word_loss for tokens in (one["masked"], later))
    assert loss[2] == changed[2]
    state = networks.text.states(one["masked"])[2, 1]
    expected = -networks.text.guess(state).log_softmax(0)[one["guesses"][2, 1]]
    torch.testing.assert_close(loss[2], expected)


def test_gradients_of_the_comparison():
    objective = declip()
    seen = {name: value.detach() for name, value in objective.embed(batch()).items()}
    names = [name for name, value in seen.items() if value.is_floating_point()]

    def compare(*values: Tensor) -> Tensor:
        return objective.compare(seen | dict(zip(names, values, strict=True)))[0]

    assert torch.autograd.gradcheck(compare, [seen[name].requires_grad_() for name in names])


def test_the_queue_moves_after_the_step_alone_and_is_saved():
    """A step that is dropped has no `after_step`. The texts of 4 captions in two views are 8."""
    objective = declip()
    networks = objective.modules()
    before = networks.queue.clone()
    objective.loss(batch())
    assert torch.equal(networks.queue, before)
    objective.after_step(0)
    objective.after_step(1)
    assert networks.queued == 14
    assert not torch.equal(networks.queue, before)
    assert {"queue", "queued"} <= set(networks.state_dict())


def test_an_empty_queue_teaches_nothing():
    objective = small("declip")
    objective.modules().double()
    assert objective.loss(batch())[1]["loss/neighbours"] == 0


def test_frozen_pixels_stay_as_they_were_drawn():
    objective = build(CONFIGS["declip"].model_copy(update={"freeze_stem": True}), MODEL, Single(), 1)
    still = [name for name, value in objective.modules().named_parameters() if not value.requires_grad]
    assert still == ["backbone.patch_embed.proj.weight", "backbone.patch_embed.proj.bias"]


def step(objective: DeCLIP, batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Loss, gradients, and the queue after it, of a batch in parts."""
    if len(batches) == 1:
        loss, _ = objective.loss(batches[0])
        loss.backward()
    else:
        with torch.no_grad():
            embedded = [objective.embed(part) for part in batches]
        found = slopes(objective, embedded)
        loss = found.loss
        for index, part in enumerate(batches):
            stand_in(objective.embed(part), found, index).backward()
    objective.after_step(0)
    networks = objective.modules()
    learned = {name: value.grad for name, value in networks.named_parameters() if value.grad is not None}
    return {"loss": loss.detach(), "queue": networks.queue.clone(), "queued": networks.queued.clone()} | learned


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for key, expected in theirs.items():
        torch.testing.assert_close(ours[key], expected, rtol=1e-9, atol=1e-11, msg=key)


@pytest.mark.parametrize("count", [2, 4])
def test_micro_batches_give_loss_gradients_and_queue_of_the_batch(count: int):
    same(step(declip(), parts(count)), step(declip(), [batch()]))


def share(gather: Gather) -> dict[str, Tensor]:
    """This rank's captions: with LayerNorm, with BatchNorm over the ranks, and in two micro-batches where it has so
    many."""
    each = CAPTIONS // gather.world
    mine = slice(gather.rank * each, (gather.rank + 1) * each)
    results = {
        f"{name}: {k}": v
        for name in ("declip", "declip batch")
        for k, v in step(declip(gather, name), [batch(mine)]).items()
    }
    if gather.world == 2:
        results |= {f"in parts: {key}": value for key, value in step(declip(gather), parts(2, mine)).items()}
    return results


@pytest.mark.timeout(900)
@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_give_loss_gradients_and_queue_of_one(on_ranks, world: int):
    """The queue to the same numbers on every rank, in the same order, though a rank with two micro-batches holds other
    captions than one place after another."""
    alone, ranks = share(Single()), on_ranks(share, world)
    for key in ranks[0]:
        values = [rank[key] for rank in ranks]
        expected = alone[key.replace("in parts", "declip")]
        if "queue" in key:
            assert all(torch.equal(value, values[0]) for value in values)
        torch.testing.assert_close(
            torch.stack(values).double().mean(0), expected.double(), rtol=1e-9, atol=1e-11, msg=key
        )


def test_wrong_settings_name_field_and_value():
    with pytest.raises(ValueError, match=r"must leave something of 1, got 1\.2 together"):
        DeCLIPConfig(alone_weight=0.4, views_weight=0.4, neighbours_weight=0.4)
    with pytest.raises(ValueError, match=r"batch\.global_crops must be 2 with objective\.kind declip"):
        PretrainConfig(objective=DeCLIPConfig(), batch=BatchConfig(global_crops=1))
