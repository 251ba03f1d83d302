"""Every objective under DeepSpeed: whatever ZeRO splits over the ranks, it learns as where nothing is split."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from tests.trainer.conftest import OnRanks
from tests.trainer.objectives import small
from trainer.config import ModelConfig, ObjectiveConfig, OptimizerConfig, SynCLRConfig
from trainer.distributed import Gather
from trainer.objectives import Objective, build
from trainer.optimizer import build_optimizer, param_groups

STEPS, WORLD = 3, 2
SYNCLR_MODEL = ModelConfig(image_size=32, patch_size=8, width=32, depth=2, heads=2, drop_path=0.0)
SYNCLR = SynCLRConfig(
    projector_hidden=64, embedding=16, prototypes=48, ibot_hidden=32, ibot_bottleneck=16, ema_start=0.5
)
CAPTIONS, VIEWS, LOCAL, TOKENS = 2, 3, 2, 16
SPLITS = {"0": (0, 0), "1": (1, 0), "2": (2, 0), "3": (3, 0), "3, small parameters kept whole": (3, 10**5)}
"""Name to ZeRO stage and the size below which stage 3 keeps a parameter whole on every rank."""
CURVE = (2e-6, 0.0)
"""Relative and absolute. Sums over ranks and parameters are in another order, in float32; seen were 2e-7."""
WEIGHTS = (1e-4, 1e-5)
WITHOUT_GRADIENT = ("attn.qkv.bias", "attn.in_proj_bias", "attnpool.k_proj.bias")
"""The keys' bias, a third of the first two, cancels in the softmax. Its gradient is rounding alone, and AdamW's first
steps are as long for that as for any other: seen were 1e-4."""


@dataclass(frozen=True)
class Case:
    """An objective and the splits that it is tried with."""

    config: ObjectiveConfig
    model: ModelConfig
    splits: tuple[str, ...]


CASES = {
    "synclr": Case(SYNCLR, SYNCLR_MODEL, tuple(SPLITS)),
    **{
        name: Case(small.CONFIGS[name], small.MODEL, ("0", "1", "2", "3"))
        for name in ("simclr", "supervised", "stablerep plus", "clip", "siglip", "declip", "superclass")
    },
    "clip resnet": Case(small.CONFIGS["clip"], small.RESNET, ("0", "1", "2", "3")),
}


class Loss(nn.Module):
    """What DeepSpeed wraps: a module whose forward is the objective's loss."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.networks = objective.modules()
        self.objective = objective

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return self.objective.loss(batch)[0]


def batch(name: str, rank: int) -> dict[str, Tensor]:
    """This rank's half of the batch that the others' tests have; for SynCLR, which has masks, one of its own."""
    if name != "synclr":
        each = small.CAPTIONS // WORLD
        mine = small.batch(slice(rank * each, (rank + 1) * each))
        mine |= {"global_crops": mine["global_crops"].float()}
        return mine if CASES[name].model is small.MODEL else small.enlarged(mine)
    generator = torch.Generator().manual_seed(rank)
    mask = torch.zeros(VIEWS * CAPTIONS, TOKENS, dtype=torch.bool)
    mask[: 3 - rank, :8] = True
    return {
        "global_crops": torch.randn(VIEWS * CAPTIONS, 3, 32, 32, generator=generator),
        "local_crops": torch.randn(LOCAL * VIEWS * CAPTIONS, 3, 16, 16, generator=generator),
        "labels": torch.arange(CAPTIONS) + rank * CAPTIONS,
        "mask": mask,
    }


def trained(name: str, split: str, gather: Gather) -> dict[str, Tensor]:
    """The losses of some steps, and all parameters and buffers after them."""
    from trainer.zero import deepspeed

    deepspeed.ops.__compatible_ops__ = {}  # or it compiles C++ for inference first, as trainer/engine.py says
    case, (stage, whole_below) = CASES[name], SPLITS[split]
    torch.manual_seed(0)
    objective = build(case.config, case.model, gather, steps=20)
    module = Loss(objective)
    engine, *_ = deepspeed.initialize(
        model=module,
        optimizer=build_optimizer(param_groups(module, case.config.decay), OptimizerConfig()),
        config={
            "train_micro_batch_size_per_gpu": 1,
            "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": whole_below},
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
        },
    )
    losses = []
    for step in range(STEPS):
        loss = engine(batch(name, gather.rank))
        engine.backward(loss)
        for group in engine.optimizer.param_groups:
            group["lr"] = 1e-3
            group["weight_decay"] = 0.1 if group["decay"] else 0.0
        engine.step()
        objective.after_step(step)
        losses.append(loss.detach().clone())
    networks = objective.modules()
    with deepspeed.zero.GatheredParameters(list(networks.parameters()), enabled=stage == 3):
        kept = {key: value.detach().clone() for key, value in networks.state_dict().items()}
    engine.destroy()
    return {"loss": gather.all_reduce_sum(torch.stack(losses)) / gather.world, **kept}


def share(gather: Gather) -> dict[str, Tensor]:
    """Every objective under each of its splits, in one pair of processes: to start one takes longer than all steps."""
    os.environ |= {"LOCAL_RANK": str(gather.rank), "RANK": str(gather.rank), "WORLD_SIZE": str(gather.world)}
    return {
        f"{name} / {split} / {key}": value
        for name, case in CASES.items()
        for split in case.splits
        for key, value in trained(name, split, gather).items()
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_zero_stage_gives_the_same_curve_weights_and_state(on_ranks: OnRanks) -> None:
    """Losses from the second on see the weights that the step moved and what `after_step` moved (teacher, queue,
    counts); a shard or a whole that went stale shows."""
    for rank in on_ranks(share, WORLD):
        for name, case in CASES.items():
            curve = rank[f"{name} / 0 / loss"]
            assert (curve[1:] - curve[:-1]).abs().min() > 1e3 * CURVE[0] * curve.abs().max(), (name, curve)
            keys = [key.removeprefix(f"{name} / 0 / ") for key in rank if key.startswith(f"{name} / 0 / ")]
            keys = [key for key in keys if not key.endswith(WITHOUT_GRADIENT)]
            assert len(keys) > 10
            for split in case.splits:
                for key in keys:
                    ours, plain = (rank[f"{name} / {one} / {key}"] for one in (split, "0"))
                    rtol, atol = CURVE if key == "loss" else WEIGHTS
                    difference = f"{name}, ZeRO {split}, {key}"
                    torch.testing.assert_close(ours, plain, rtol=rtol, atol=atol, msg=difference)
