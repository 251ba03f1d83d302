"""One optimiser step, at every ZeRO stage."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from config import ConfigError
from tests.trainer.objectives.small import CONFIGS, parts, small
from tests.trainer.objectives_for_tests import Line, Pairs
from tests.trainer.scenes import pretrain_config
from trainer.batch import Batch
from trainer.config import EngineConfig, OptimizerConfig, PretrainConfig, ScheduleConfig
from trainer.distributed import Gather
from trainer.engine import Engine, device_of, ranks

CPU = torch.device("cpu")
STAGES = pytest.mark.parametrize("stage", [0, 1, 2, 3])


@pytest.fixture
def gather() -> Iterator[Gather]:
    with ranks(CPU) as found:
        yield found


class Steep(Line):
    """From caption `EDGE` on, the loss also has a root of 0: worth nothing, with an infinite slope."""

    EDGE = 100

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = super().loss(batch)
        if batch["labels"].max() >= self.EDGE:
            loss = loss + (0 * loss).sqrt()
        return loss, metrics


def line_config(stage: Any = 0, accumulate: int = 1, clip: float = 0.0, precision: Any = "fp32") -> PretrainConfig:
    engine = EngineConfig(zero_stage=stage, precision=precision, device="cpu", accumulate=accumulate, hang_seconds=0)
    schedule = ScheduleConfig(steps=100, warmup_steps=0, lr=0.1, weight_decay_start=0.5, weight_decay_end=0.5)
    return pretrain_config("unused", engine=engine, schedule=schedule, optimizer=OptimizerConfig(clip=clip))


def line_engine(config: PretrainConfig, gather: Gather) -> Engine:
    torch.manual_seed(0)
    return Engine(Line(), config, gather, CPU)


def batch(number: int, captions: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(number)
    return {
        "global_crops": torch.randn(captions, 3, 2, 2, generator=generator),
        "labels": torch.randint(0, 9, (captions,), generator=generator),
    }


def adamw(first: Batch, steps: int, config: PretrainConfig) -> dict[str, Tensor]:
    """The same by torch alone: AdamW on the line, weight decay on its weight and not on its bias."""
    torch.manual_seed(0)
    line = Line()
    weight, bias = line.networks["line"].parameters()
    groups = [{"params": [weight], "weight_decay": 0.5}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.1)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * (1 + math.cos(math.pi * step / 100))
        optimizer.zero_grad()
        line.loss(first)[0].backward()
        if config.optimizer.clip:
            torch.nn.utils.clip_grad_norm_([weight, bias], config.optimizer.clip)
        optimizer.step()
    return {"line.weight": weight.detach(), "line.bias": bias.detach()}


@STAGES
@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_a_step_is_adamws(gather: Gather, stage: int, clip: float):
    config = line_config(stage, clip=clip)
    engine = line_engine(config, gather)
    for step in range(3):
        done = engine.step(step, [batch(0)], step)
    assert done.applied
    expected = adamw(batch(0), 3, config)
    found = engine.weights()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-6)
    assert engine.updates == 3
    assert int(found["steps"]) == 3


@STAGES
def test_the_gradients_norm_is_that_before_clipping(gather: Gather, stage: int):
    """Of the mean of (w.x + b - y)^2: 2 (w.x + b - y) x and 2 (w.x + b - y), by hand."""
    engine = line_engine(line_config(stage, clip=1e-3), gather)
    torch.manual_seed(0)
    line, one = Line().networks["line"], batch(0)
    x = one["global_crops"].mean((2, 3))
    error = (x @ line.weight[0] + line.bias - one["labels"]).detach()
    norm = torch.cat([(2 * error[:, None] * x).mean(0), (2 * error).mean()[None]]).norm()
    assert engine.step(0, [one], 0).gradient_norm == pytest.approx(float(norm), rel=1e-5)


@STAGES
def test_accumulating_micro_batches_is_one_large_batch(gather: Gather, stage: int):
    large = line_engine(line_config(stage), gather)
    small = line_engine(line_config(stage, accumulate=2), gather)
    for step in range(2):
        halves = [batch(2 * step), batch(2 * step + 1)]
        whole = {key: torch.cat([half[key] for half in halves]) for key in halves[0]}
        one, two = large.step(step, [whole], step), small.step(step, halves, 2 * step)
        torch.testing.assert_close(one.loss, two.loss, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(one.metrics["loss/error"], two.metrics["loss/error"], atol=1e-6, rtol=1e-6)
    for name, value in large.weights().items():
        torch.testing.assert_close(small.weights()[name], value, atol=1e-6, rtol=1e-6)


@STAGES
def test_what_compares_samples_compares_those_of_all_micro_batches(gather: Gather, stage: int):
    """Its loss of two halves is not the mean of theirs. Weights, the temperature among them, are those of one large
    batch after two steps."""
    torch.manual_seed(0)
    large = Engine(Pairs(), line_config(stage), gather, CPU)
    torch.manual_seed(0)
    small = Engine(Pairs(), line_config(stage, accumulate=2), gather, CPU)
    for step in range(2):
        halves = [batch(2 * step), batch(2 * step + 1)]
        whole = {key: torch.cat([half[key] for half in halves]) for key in halves[0]}
        one, two = large.step(step, [whole], step), small.step(step, halves, 2 * step)
        torch.testing.assert_close(one.loss, two.loss, atol=1e-6, rtol=1e-6)
        assert one.gradient_norm == pytest.approx(two.gradient_norm, rel=1e-4)
    for name, value in large.weights().items():
        torch.testing.assert_close(small.weights()[name], value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stage", [0, 3])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_objective_takes_a_step(gather: Gather, name: str, stage: int):
    """In two micro-batches, in half precision as recipes have it: every parameter that a loss reaches moves."""
    config = line_config(stage, accumulate=2, precision="bf16")
    engine = Engine(small(name), config, gather, CPU)
    before = engine.weights()
    halves = [{key: single(value) for key, value in half.items()} for half in parts(2)]
    stepped = engine.step(0, halves, 0)
    assert stepped.applied
    after = engine.weights()
    still = [key for key, value in before.items() if torch.equal(value, after[key]) and "mask_token" not in key]
    assert not still


def single(value: Tensor) -> Tensor:
    return value.float() if value.is_floating_point() else value


@STAGES
@pytest.mark.parametrize("spoiled", ["loss", "gradient"])
def test_what_is_not_finite_changes_nothing(gather: Gather, stage: int, spoiled: str):
    """An infinite loss; and a finite one whose gradient is not a number (`Steep`)."""
    engine = Engine(Steep(), line_config(stage, accumulate=2), gather, CPU)
    engine.step(0, [batch(0), batch(1)], 0)
    before, moments = engine.weights(), engine.moments()
    bad = batch(2)
    bad["global_crops"] = bad["global_crops"] * (float("inf") if spoiled == "loss" else 1.0)
    bad["labels"] = bad["labels"] + (Steep.EDGE if spoiled == "gradient" else 0)
    done = engine.step(1, [batch(3), bad], 2)
    assert not done.applied
    assert all(torch.equal(value, before[name]) for name, value in engine.weights().items())
    assert all(torch.equal(value, moments[name]) for name, value in engine.moments().items())
    assert engine.updates == 1
    assert engine.step(2, [batch(4), batch(5)], 4).applied


@STAGES
def test_a_restored_engine_goes_on_to_the_last_digit(gather: Gather, stage: int):
    config = line_config(stage)
    engine = line_engine(config, gather)
    for step in range(3):
        engine.step(step, [batch(step)], step)
    weights, moments, updates = engine.weights(), engine.moments(), engine.updates
    straight = [engine.step(step, [batch(step)], step).loss.item() for step in range(3, 6)]

    line = Line()
    line.modules().load_state_dict(weights)
    again = Engine(line, config, gather, CPU)
    again.restore(moments, updates, [batch(3)])
    assert all(torch.equal(value, weights[name]) for name, value in again.weights().items())
    assert [again.step(step, [batch(step)], step).loss.item() for step in range(3, 6)] == straight


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 3), (3, 0), (2, 1)])
def test_state_goes_from_one_stage_to_another(gather: Gather, before: int, after: int):
    engine = line_engine(line_config(before), gather)
    for step in range(2):
        engine.step(step, [batch(step)], step)
    line = Line()
    line.modules().load_state_dict(engine.weights())
    other = Engine(line, line_config(after), gather, CPU)
    other.restore(engine.moments(), engine.updates, [batch(2)])
    one, two = (which.step(2, [batch(2)], 2).loss.item() for which in (engine, other))
    assert one == pytest.approx(two, rel=1e-6)
    for name, value in engine.weights().items():
        torch.testing.assert_close(other.weights()[name], value, atol=1e-6, rtol=1e-6)


def test_rates_follow_the_schedules_and_norms_and_biases_do_not_decay(gather: Gather):
    engine = line_engine(line_config(), gather)
    done = engine.step(50, [batch(0)], 50)
    assert done.learning_rate == pytest.approx(0.05)
    assert done.weight_decay == 0.5
    decays = {group["decay"]: group["weight_decay"] for group in engine._adamw.param_groups}
    assert decays == {True: 0.5, False: 0.0}


def test_a_gpu_that_is_not_there_is_a_wrong_config():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=r"engine\.device is cuda"):
        device_of(pretrain_config("unused").engine.model_copy(update={"device": "cuda"}))


def test_nothing_is_compiled(gather: Gather, capfd: pytest.CaptureFixture[str], tmp_path: Path):
    """DeepSpeed announces what it builds."""
    line_engine(line_config(1), gather)
    assert "built" not in capfd.readouterr().out


def test_the_objectives_rule_says_what_decays(gather: Gather):
    config = line_config().model_copy(update={"objective": CONFIGS["clip"]})
    engine = Engine(small("clip"), config, gather, CPU)
    decays = {id(value): group["decay"] for group in engine._adamw.param_groups for value in group["params"]}
    named = dict(engine.networks.named_parameters())
    assert decays[id(named["text.text_projection"])]
    assert not decays[id(named["text.positional_embedding"])]
