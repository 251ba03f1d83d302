"""What every objective keeps: a loss that changes nothing, the same on any number of ranks and micro-batches."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from config import ConfigError
from tests.trainer.objectives.small import CAPTIONS, CONFIGS, MODEL, OF_THEIR_BATCH, batch, parts, small
from trainer.config import (
    BatchConfig,
    CLIPConfig,
    ModelConfig,
    PretrainConfig,
    SimCLRConfig,
    TextConfig,
    TokenizerConfig,
)
from trainer.distributed import Gather, Single
from trainer.objectives import OBJECTIVES, build
from trainer.objectives.protocol import Comparing
from trainer.together import slopes, stand_in

ALL = pytest.mark.parametrize("name", CONFIGS)
DROPPING = MODEL.model_copy(update={"depth": 2, "drop_path": 0.5})


def gradients(objective: Comparing) -> dict[str, Tensor]:
    named = objective.modules().named_parameters()
    return {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in named if p.requires_grad}


def whole(name: str, gather: Gather | None = None, captions: slice = slice(CAPTIONS)) -> dict[str, Tensor]:
    """Loss and gradients of a batch taken at once."""
    objective = small(name, gather)
    objective.modules().double()
    loss, _ = objective.loss(batch(captions))
    loss.backward()
    return {"loss": loss.detach(), **gradients(objective)}


def accumulated(objective: Comparing, batches: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Loss and gradients of a batch taken part by part, each with a seed of its own."""
    embedded = []
    for index, part in enumerate(batches):
        torch.manual_seed(index)
        with torch.no_grad():
            embedded.append(objective.embed(part))
    found = slopes(objective, embedded)
    for index, part in enumerate(batches):
        torch.manual_seed(index)
        stand_in(objective.embed(part), found, index).backward()
    return {"loss": found.loss, **gradients(objective)}


def close(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    for key, expected in theirs.items():
        torch.testing.assert_close(ours[key], expected, rtol=1e-9, atol=1e-11, msg=key)


@ALL
def test_a_loss_changes_nothing(name: str):
    objective = small(name)
    objective.modules().double()
    before = {key: value.clone() for key, value in objective.modules().state_dict().items()}
    first, again = (objective.loss(batch())[0] for _ in range(2))
    assert torch.equal(first, again)
    assert all(torch.equal(value, before[key]) for key, value in objective.modules().state_dict().items())


@ALL
def test_a_step_that_is_dropped_leaves_no_trace(name: str):
    """Its loss was computed, and no `after_step` followed: what comes then is as if it had not been."""
    dropped, never = small(name), small(name)
    for objective in (dropped, never):
        objective.modules().double()
    dropped.loss(batch(slice(2)))
    for objective in (dropped, never):
        objective.loss(batch())
        objective.after_step(0)
    after = dropped.modules().state_dict()
    assert all(torch.equal(value, after[key]) for key, value in never.modules().state_dict().items())


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in OF_THEIR_BATCH])
@pytest.mark.parametrize("count", [2, 4])
def test_micro_batches_give_the_loss_and_every_gradient_of_the_batch(name: str, count: int):
    """The learned temperature's among them. Images without a class fall unevenly (caption 1)."""
    objective = small(name)
    objective.modules().double()
    close(accumulated(objective, parts(count)), whole(name))


def test_the_second_pass_drops_the_blocks_that_the_first_dropped():
    """With stochastic depth of 0.5: the gradient is that of one graph over both parts, each drawn with its seed. Were
    the second pass drawn anew, it would be of other networks."""
    ours, theirs = small("clip", model=DROPPING), small("clip", model=DROPPING)
    for objective in (ours, theirs):
        objective.modules().double()
    embedded = []
    for index, part in enumerate(parts(2)):
        torch.manual_seed(index)
        embedded.append(theirs.embed(part))
    loss, _ = theirs.compare({key: torch.cat([each[key] for each in embedded]) for key in embedded[0]})
    loss.backward()
    close(accumulated(ours, parts(2)), {"loss": loss.detach(), **gradients(theirs)})


def share(gather: Gather) -> dict[str, Tensor]:
    """This rank's captions, for every objective; at once, and in two micro-batches where it has so many."""
    each = CAPTIONS // gather.world
    mine = slice(gather.rank * each, (gather.rank + 1) * each)
    results: dict[str, Tensor] = {}
    for name in CONFIGS:
        results |= {f"{name}: {key}": value for key, value in whole(name, gather, mine).items()}
        if gather.world == 2 and name not in OF_THEIR_BATCH:
            objective = small(name, gather)
            objective.modules().double()
            results |= {f"{name} in parts: {key}": v for key, v in accumulated(objective, parts(2, mine)).items()}
    return results


@pytest.mark.timeout(900)
@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_give_the_loss_and_every_gradient_of_one(on_ranks, world: int):
    alone, ranks = share(Single()), on_ranks(share, world)
    for key in ranks[0]:
        mean = torch.stack([rank[key] for rank in ranks]).mean(0)
        expected = alone[key.replace(" in parts", "")]
        torch.testing.assert_close(mean, expected, rtol=1e-9, atol=1e-11, msg=key)


@ALL
def test_every_parameter_learns(name: str):
    """Nothing is built that no loss reaches, but for the token that masks patches, which is iBOT's."""
    objective = small(name)
    objective.modules().double()
    objective.loss(batch())[0].backward()
    named = [(key, p) for key, p in objective.modules().named_parameters() if p.requires_grad]
    assert not [key for key, p in named if p.grad is None and "mask_token" not in key]


@ALL
def test_every_gradient_is_that_of_finite_differences(name: str):
    """By every parameter, along a random direction (gradcheck's fast mode), in float64. SimSiam's targets are constants
    for the gradient and move with the weights; without that term here, it is checked in test_declip.py."""
    objective = small(name)
    objective.modules().double()

    def loss(*_: Tensor) -> Tensor:
        embedded = objective.embed(batch())
        constant = {"siamese": torch.zeros(1)} if "siamese" in embedded else {}
        return objective.compare({**embedded, **constant})[0]

    learned = [parameter for parameter in objective.modules().parameters() if parameter.requires_grad]
    assert torch.autograd.gradcheck(loss, learned, fast_mode=True)


@ALL
def test_the_encoder_is_the_backbone(name: str):
    features = small(name).encoder()(torch.zeros(2, 3, 16, 16))
    assert features.shape == (2, MODEL.width)


def test_every_objective_of_the_table_has_a_section():
    known = {type(config).model_fields["kind"].default for config in CONFIGS.values()}
    assert known == set(OBJECTIVES)


def test_views_of_one_image_need_two():
    with pytest.raises(ValueError, match=r"batch\.global_crops must be at least 2 with objective\.kind simclr"):
        PretrainConfig(objective=SimCLRConfig())


def test_views_of_a_caption_are_its_images():
    with pytest.raises(ValueError, match=r"batch\.global_crops must be 1 with objective\.kind synclr"):
        PretrainConfig(batch=BatchConfig(global_crops=2))


def test_clips_merges_come_with_the_trainer_or_from_a_file():
    model = ModelConfig(image_size=16, patch_size=8, width=16, depth=1, heads=2)
    config = CLIPConfig(text=TextConfig(width=16, depth=1, heads=2))
    assert build(config, model, Single(), 1).modules().text.token_embedding.num_embeddings == 49408
    with pytest.raises(ConfigError, match=r"cannot read '/no/where'"):
        build(CLIPConfig(tokenizer=TokenizerConfig(file="/no/where")), model, Single(), 1)
