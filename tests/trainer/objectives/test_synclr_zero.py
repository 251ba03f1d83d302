"""SynCLR under DeepSpeed: whatever ZeRO splits over the ranks, the teacher follows as on one process."""

import os
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from trainer.config import ModelConfig, OptimizerConfig, SynCLRConfig
from trainer.distributed import Gather
from trainer.objectives import Objective, build
from trainer.optimizer import build_optimizer, param_groups

MODEL = ModelConfig(image_size=32, patch_size=8, width=32, depth=2, heads=2, drop_path=0.0)
CONFIG = SynCLRConfig(
    projector_hidden=64, embedding=16, prototypes=48, ibot_hidden=32, ibot_bottleneck=16, ema_start=0.5
)
CAPTIONS, VIEWS, LOCAL, TOKENS = 2, 3, 2, 16
SPLITS = {"0": (0, 0), "1": (1, 0), "2": (2, 0), "3": (3, 0), "3, small parameters kept whole": (3, 10**5)}
"""Name to ZeRO stage and the size below which stage 3 keeps a parameter whole on every rank."""


class Loss(nn.Module):
    """What DeepSpeed wraps: a module whose forward is the objective's loss."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.networks = objective.modules()
        self.objective = objective

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return self.objective.loss(batch)[0]


def batch(rank: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rank)
    mask = torch.zeros(VIEWS * CAPTIONS, TOKENS, dtype=torch.bool)
    mask[: 3 - rank, :8] = True
    return {
        "global_crops": torch.randn(VIEWS * CAPTIONS, 3, 32, 32, generator=generator),
        "local_crops": torch.randn(LOCAL * VIEWS * CAPTIONS, 3, 16, 16, generator=generator),
        "labels": torch.arange(CAPTIONS) + rank * CAPTIONS,
        "mask": mask,
    }


def share(gather: Gather) -> dict[str, Tensor]:
    """All parameters, and the losses, after three steps under every split."""
    os.environ |= {"LOCAL_RANK": str(gather.rank), "RANK": str(gather.rank), "WORLD_SIZE": str(gather.world)}
    import deepspeed

    result = {}
    for name, (stage, whole_below) in SPLITS.items():
        torch.manual_seed(0)
        objective = build(CONFIG, MODEL, gather, steps=20)
        module = Loss(objective)
        zero = {"stage": stage, "stage3_param_persistence_threshold": whole_below}
        engine, *_ = deepspeed.initialize(
            model=module,
            optimizer=build_optimizer(param_groups(module), OptimizerConfig()),
            config={
                "train_micro_batch_size_per_gpu": 1,
                "zero_optimization": zero,
                "zero_allow_untested_optimizer": True,
                "zero_force_ds_cpu_optimizer": False,
            },
        )
        losses = []
        for step in range(3):
            loss = engine(batch(gather.rank))
            engine.backward(loss)
            for group in engine.optimizer.param_groups:
                group["lr"] = 1e-3
                group["weight_decay"] = 0.1 if group["decay"] else 0.0
            engine.step()
            objective.after_step(step)
            losses.append(loss.detach().clone())
        result[f"{name}: loss"] = gather.all_reduce_sum(torch.stack(losses)) / gather.world
        parameters = list(objective.modules().parameters())
        with deepspeed.zero.GatheredParameters(parameters, enabled=stage == 3):
            for key, parameter in objective.modules().named_parameters():
                result[f"{name}: {key}"] = parameter.detach().clone()
    return result


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_zero_stage_gives_the_same_teacher(on_ranks):
    """Losses from the second on see the teacher that `after_step` moved; a shard or a whole that went stale shows."""
    for rank in on_ranks(share, 2):
        keys = [key.removeprefix("0: ") for key in rank if key.startswith("0: ")]
        assert any(key.startswith("teacher.") for key in keys)
        for name in SPLITS:
            for key in keys:
                torch.testing.assert_close(
                    rank[f"{name}: {key}"],
                    rank[f"0: {key}"],
                    rtol=1e-4,
                    atol=1e-5,
                    msg=f"ZeRO {name}, {key}",
                )
