"""CLIP's ResNet in the place of the ViT: what every objective keeps with the one, it keeps with the other."""

from collections.abc import Callable, Iterator

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tests.trainer.conftest import OnRanks
from tests.trainer.objectives.small import CAPTIONS, CONFIGS, RESNET, batch, enlarged, small
from tests.trainer.objectives_for_tests import Log
from tests.trainer.scenes import pretrain_config
from trainer.batch import Batch
from trainer.config import (
    BatchConfig,
    DeCLIPConfig,
    EngineConfig,
    ModelConfig,
    PretrainConfig,
    SimCLRConfig,
    SynCLRConfig,
)
from trainer.distributed import Gather, Single
from trainer.engine import Engine, ranks
from trainer.objectives.protocol import Comparing
from trainer.optimizer import param_groups

RESNETS = [name for name, config in CONFIGS.items() if config.kind != "synclr"]
ALL = pytest.mark.parametrize("name", RESNETS)
CPU = torch.device("cpu")


def shaken(name: str, gather: Gather | None = None) -> Comparing:
    """In float64. The last norm of every block begins at 0 and would hide what is before it: here none does."""
    objective = small(name, gather, RESNET)
    for key, parameter in objective.modules().named_parameters():
        if "backbone" in key and parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.0)
    objective.modules().double()
    return objective


def running(objective: Comparing) -> dict[str, Tensor]:
    """The running statistics as they are now."""
    return {key: value.clone() for key, value in objective.modules().state_dict().items() if "running" in key}


@ALL
def test_a_loss_changes_nothing(name: str):
    objective = shaken(name)
    before = {key: value.clone() for key, value in objective.modules().state_dict().items()}
    first, again = (objective.loss(enlarged(batch()))[0] for _ in range(2))
    assert torch.equal(first, again)
    assert all(torch.equal(value, before[key]) for key, value in objective.modules().state_dict().items())


@ALL
def test_running_statistics_move_after_the_step_and_once(name: str):
    """Objectives with state of their own move both."""
    objective = shaken(name)
    start = running(objective)
    objective.loss(enlarged(batch()))
    objective.after_step(0)
    moved = running(objective)
    assert all(not torch.equal(value, start[key]) for key, value in moved.items())
    objective.after_step(1)
    assert all(torch.equal(value, moved[key]) for key, value in running(objective).items())


@ALL
def test_a_step_that_is_dropped_leaves_no_trace(name: str):
    dropped, never = shaken(name), shaken(name)
    dropped.loss(enlarged(batch(slice(2))))
    for objective in (dropped, never):
        objective.loss(enlarged(batch()))
        objective.after_step(0)
    after = dropped.modules().state_dict()
    assert all(torch.equal(value, after[key]) for key, value in never.modules().state_dict().items())


@ALL
def test_every_parameter_learns(name: str):
    objective = shaken(name)
    objective.loss(enlarged(batch()))[0].backward()
    idle = [key for key, p in objective.modules().named_parameters() if p.grad is None or not p.grad.abs().max()]
    assert not idle


@ALL
def test_the_encoder_gives_the_feature_that_is_trained(name: str):
    objective = shaken(name)
    crops = enlarged(batch())["global_crops"]
    features = objective.encoder()(crops)
    assert features.shape == (len(crops), RESNET.width)
    assert torch.equal(features, objective.modules().get_submodule("backbone")(crops).cls)


def share(gather: Gather) -> dict[str, Tensor]:
    """Loss, gradients and running statistics of this rank's captions, for every objective."""
    each = CAPTIONS // gather.world
    mine = enlarged(batch(slice(gather.rank * each, (gather.rank + 1) * each)))
    results: dict[str, Tensor] = {}
    for name in RESNETS:
        objective = shaken(name, gather)
        loss, _ = objective.loss(mine)
        loss.backward()
        objective.after_step(0)
        named = objective.modules().named_parameters()
        found = {"loss": loss.detach(), **{key: p.grad for key, p in named if p.grad is not None}}
        results |= {f"{name}: {key}": value for key, value in (found | running(objective)).items()}
    return results


@pytest.mark.timeout(900)
@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_several_processes_give_loss_gradients_and_running_statistics_of_one(on_ranks: OnRanks, world: int):
    """Running statistics are the same on every rank, and not only in the mean."""
    alone, each = share(Single()), on_ranks(share, world)
    for key, expected in alone.items():
        found = torch.stack([rank[key] for rank in each])
        if "running" in key:
            torch.testing.assert_close(found, expected.expand_as(found), rtol=1e-9, atol=1e-11, msg=key)
        else:
            torch.testing.assert_close(found.mean(0), expected, rtol=1e-9, atol=1e-11, msg=key)


@pytest.fixture
def gather() -> Iterator[Gather]:
    with ranks(CPU) as found:
        yield found


@pytest.mark.parametrize("stage", [0, 3])
def test_a_loss_that_is_not_finite_leaves_the_running_statistics(gather: Gather, stage: int):
    """Through DeepSpeed, in half precision as recipes have it: the second of three losses is not a number. Weights and
    statistics are those of a run that never saw its batch."""
    base = pretrain_config("unused")
    engine = base.engine.model_copy(update={"zero_stage": stage, "precision": "bf16"})
    one = {key: value.float() if value.is_floating_point() else value for key, value in enlarged(batch()).items()}
    other = one | {"global_crops": one["global_crops"].flip(0) + 1}
    cases: list[tuple[list[Batch], Callable[[int], float]]] = [
        ([one, other, one], lambda now: float("nan") if now == 1 else 1.0),
        ([one, one], lambda _: 1.0),
    ]
    outcomes = []
    for batches, spoil in cases:
        torch.manual_seed(0)
        objective = Log(spoil).build(CONFIGS["clip"], RESNET, gather, 100)
        trained = Engine(objective, base.model_copy(update={"engine": engine}), gather, CPU)
        applied = [trained.step(3, [each], number).applied for number, each in enumerate(batches)]
        outcomes.append(trained.weights())
        trained.close()
        assert applied == [spoil(number) == 1.0 for number in range(len(batches))]
    dropped, never = outcomes
    assert not torch.equal(never["backbone.bn1.running_mean"], torch.zeros(2))
    assert all(torch.equal(value, dropped[key]) for key, value in never.items())


WHOLE = BatchConfig(local_crops=0)
TWO = WHOLE.model_copy(update={"global_crops": 2})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"resnet": (3, 4, 6)}, r"resnet must be four numbers of bottlenecks, each at least 1, got \(3, 4, 6\)"),
        ({"resnet": (3, 4, 0, 3)}, r"resnet must be four .* got \(3, 4, 0, 3\)"),
        ({"image_size": 72}, r"image_size must be a multiple of patch_size \(32\), got 72"),
        ({"patch_size": 16}, r"patch_size must be 32 with resnet.* got 16"),
        ({"heads": 4}, r"heads must be width / 64 \(2\) with resnet, got 4"),
        ({"width": 100}, r"heads must be width / 64 \(1\.5625\) with resnet, got 2"),
        ({"drop_path": 0.1}, r"drop_path must be 0 with resnet.* got 0\.1"),
        ({"stem": "conv"}, r"stem is the ViT's: with resnet leave it at patch, got conv"),
        ({"depth": 4}, r"depth is the ViT's: with resnet leave it at 12, got 4"),
        ({"mlp_ratio": 2.0}, r"mlp_ratio is the ViT's: with resnet leave it at 4\.0, got 2\.0"),
        ({"init": "xavier"}, r"init is the ViT's: with resnet leave it at normal, got xavier"),
    ],
)
def test_what_a_resnet_does_not_have_is_refused(change: dict[str, object], said: str):
    with pytest.raises(ValidationError, match=said):
        ModelConfig.model_validate(RESNET.model_dump() | change)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"objective": SynCLRConfig(ibot_weight=0.0)}, r"objective\.kind must not be synclr with model\.resnet"),
        ({"batch": BatchConfig(global_crops=2)}, r"batch\.local_crops must be 0 with model\.resnet.* got 4"),
        ({"engine": EngineConfig(accumulate=2)}, r"engine\.accumulate must be 1 with model\.resnet.* got 2"),
        ({"objective": DeCLIPConfig(freeze_stem=True)}, r"objective\.freeze_stem must be false with model\.resnet"),
    ],
)
def test_what_cannot_be_with_a_resnet_is_refused(sections: dict[str, object], said: str):
    whole: dict[str, object] = {"model": RESNET, "objective": SimCLRConfig(), "batch": TWO}
    PretrainConfig.model_validate(whole)
    with pytest.raises(ValidationError, match=said):
        PretrainConfig.model_validate(whole | sections)


def test_a_resnet_has_clips_decay():
    """Convolutions and projections decay; norms, biases and the places of the attention do not."""
    networks = small("clip", model=RESNET).modules()
    name = {id(parameter): key for key, parameter in networks.named_parameters() if "backbone" in key}
    groups = param_groups(networks, CONFIGS["clip"].decay)
    decayed, kept = ({name[id(p)] for p in group["params"] if id(p) in name} for group in groups)
    assert {"backbone.conv1.weight", "backbone.layer1.0.downsample.0.weight"} <= decayed
    assert "backbone.attnpool.q_proj.weight" in decayed
    assert {"backbone.bn1.weight", "backbone.layer1.0.downsample.1.weight", "backbone.attnpool.q_proj.bias"} <= kept
    assert "backbone.attnpool.positional_embedding" in kept
    modules = dict(networks.named_modules())
    assert all(type(modules[key.removesuffix(".weight")]).__name__ in ("Conv2d", "Linear") for key in decayed)
