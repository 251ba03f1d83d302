"""One optimiser step, by DeepSpeed: micro-batches in, changed weights out, or unchanged if anything was not finite.

DeepSpeed splits optimiser states, gradients and parameters over the ranks (ZeRO 0 to 3); the objective knows nothing
of it. A loss or gradient that is infinite or not a number never reaches the weights: the norm of the gradient, which
all ranks share, is looked at first.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import HashStore
from torch.nn.utils import get_total_norm

from config import ConfigError, NotFiniteError, RetryableError
from trainer.batch import Batch
from trainer.config import EngineConfig, PretrainConfig
from trainer.distributed import Gather, Process, Single
from trainer.draws import Draw, bits
from trainer.objectives import Objective
from trainer.objectives.protocol import Comparing, Embedded
from trainer.optimizer import build_optimizer, param_groups
from trainer.schedules import learning_rate, weight_decay
from trainer.together import slopes, stand_in
from trainer.zero import (
    deepspeed,
    deepspeed_logger,
    lazy_init_hp_params_optimizer_state,
    safe_get_full_optimizer_state,
    safe_set_full_optimizer_state,
)

MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's state of a parameter, besides the number of updates."""
GROUP_SECONDS = 1800.0
"""Longest that a rank waits for another in one collective, beyond the wait for shards."""


@dataclass(frozen=True)
class Stepped:
    """What one step did. Tensors are this rank's and stay on its device: reading them waits for it."""

    loss: Tensor
    metrics: Mapping[str, Tensor]
    gradient_norm: float
    learning_rate: float
    weight_decay: float
    applied: bool
    """False if something was not finite; then nothing changed."""


def device_of(config: EngineConfig) -> torch.device:
    """Raises ConfigError if a GPU is asked for and there is none."""
    there = torch.cuda.is_available()
    if config.device == "cuda" and not there:
        raise ConfigError("engine.device is cuda, and torch sees no GPU; set --engine.device cpu")
    if config.device == "cpu" or not there:
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def ranks(device: torch.device, wait: float = 0.0) -> Iterator[Gather]:
    """The ranks that torchrun started, or this process alone; DeepSpeed needs a process group in both cases.

    `wait` is how long a rank may wait for the first one to find its shards, seconds. Raises RetryableError in place of
    what gloo, NCCL or the store say when another rank is gone: that one's end is the failure.
    """
    backend = "nccl" if device.type == "cuda" else "gloo"
    timeout = timedelta(seconds=GROUP_SECONDS + wait)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _peers():
        if world > 1:
            dist.init_process_group(backend, timeout=timeout)
        else:
            for name, value in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1")):
                os.environ[name] = value
            # A store in memory: one process needs no port.
            dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1, timeout=timeout)
        try:
            yield Process() if world > 1 else Single()
        finally:
            # DeepSpeed keeps groups of its own that must go first, if it got as far as making them.
            (deepspeed.comm if deepspeed.comm.is_initialized() else dist).destroy_process_group()


@contextmanager
def _peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo/transport" not in str(error):  # gloo has no type of its own
            raise
        raise RetryableError(f"another process of this run is gone; see what it said last. Here: {error}") from error


def use_threads(config: EngineConfig) -> None:
    """Set the tensor library's threads on a CPU: as configured, or this host's cores shared out."""
    cores, processes = len(os.sched_getaffinity(0)), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(config.threads or max(1, cores // processes))


class Engine:
    """Trains an objective. Its networks must hold the weights to begin with."""

    def __init__(self, objective: Objective, config: PretrainConfig, gather: Gather, device: torch.device) -> None:
        self.objective, self.config, self.gather, self.device = objective, config, gather, device
        self.stage = config.engine.zero_stage
        self.networks = objective.modules().to(device)
        _calm()
        self._engine, *_ = deepspeed.initialize(
            model=_Networks(self.networks, self._autocast),
            optimizer=build_optimizer(param_groups(self.networks, config.objective.decay), config.optimizer),
            config=settings(config, gather.world),
            dist_init_required=False,
        )
        adamw = self._engine.optimizer if self.stage == 0 else self._engine.optimizer.optimizer
        assert isinstance(adamw, torch.optim.AdamW)
        self._adamw = adamw

    def step(self, step: int, micro_batches: Sequence[Batch], first_micro: int) -> Stepped:
        """Step number `step` of the schedules, on its micro-batches, the first of which is number `first_micro`."""
        rates = learning_rate(self.config.schedule, step), weight_decay(self.config.schedule, step)
        self._set_rates(*rates)
        loss, metrics = self._gradients(micro_batches, first_micro)
        norm, applied = self._update()
        if applied:
            self.objective.after_step(step)
        return Stepped(loss, metrics, norm, *rates, applied=applied)

    def weights(self) -> dict[str, Tensor]:
        """Every parameter and buffer, whole and on the CPU. All ranks must call it."""
        return _whole(self.networks)

    def encoder(self) -> dict[str, Tensor]:
        """The same of the encoder that the objective exports."""
        return _whole(self.objective.encoder())

    def moments(self) -> dict[str, Tensor]:
        """AdamW's state by `<parameter>.<moment>`, whole and on the CPU. Empty before the first update. All ranks."""
        if not self.updates:
            return {}
        self._link()
        named = [(name, value) for name, value in self.networks.named_parameters() if value.requires_grad]
        return {f"{name}.{key}": self._moment(value, key).cpu().clone() for name, value in named for key in MOMENTS}

    @property
    def updates(self) -> int:
        """How often the weights were changed."""
        return max((int(state["step"]) for state in self._adamw.state.values()), default=0)

    def restore(self, moments: Mapping[str, Tensor], updates: int, micro_batches: Sequence[Batch]) -> None:
        """Put AdamW's state back; the weights are there already. All ranks.

        DeepSpeed makes room for the state in the first update, so one is done with rate and decay 0, which changes no
        weight; `micro_batches` are what it is done on. Raises NotFiniteError if even that does not work.
        """
        if not updates:
            return
        self._set_rates(0.0, 0.0)
        self._gradients(micro_batches, first_micro=0)
        if not self._update()[1]:
            raise NotFiniteError("the weights of the checkpoint give a loss that is not finite")
        self._link()
        for name, value in self.networks.named_parameters():
            if value.requires_grad:
                for key in MOMENTS:
                    self._set_moment(value, key, moments[f"{name}.{key}"].to(self.device))
        for state in self._adamw.state.values():
            state["step"].fill_(float(updates))

    def close(self) -> None:
        """Give hooks and buffers back, so that another engine can be made."""
        self._engine.destroy()

    def _gradients(self, micro_batches: Sequence[Batch], first_micro: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Backward through all micro-batches; the mean of their losses and metrics, or those of all together where the
        objective compares samples with one another."""
        count = len(micro_batches)
        if count > 1 and isinstance(self.objective, Comparing):
            return self._gradients_together(self.objective, micro_batches, first_micro)
        total = torch.zeros((), device=self.device)
        means: dict[str, Tensor] = {}
        for index, batch in enumerate(micro_batches):
            self._engine.set_gradient_accumulation_boundary(index == count - 1)
            self._seed(first_micro + index)
            loss, metrics = self._engine(self.objective.loss, batch)
            self._engine.backward(_poisoned(loss))
            total += loss.detach() / count
            for name, value in metrics.items():
                means[name] = means.get(name, torch.zeros_like(value)) + value / count
        return total, means

    def _gradients_together(
        self, objective: Comparing, micro_batches: Sequence[Batch], first_micro: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Backward through all micro-batches as if they were one (`together.py`)."""
        count = len(micro_batches)
        parts: list[Embedded] = []
        for index, batch in enumerate(micro_batches):
            self._seed(first_micro + index)
            with torch.no_grad():
                parts.append(self._engine(objective.embed, batch))
        with self._autocast():
            found = slopes(objective, parts)
        for index, batch in enumerate(micro_batches):
            self._engine.set_gradient_accumulation_boundary(index == count - 1)
            self._seed(first_micro + index)
            part = stand_in(self._engine(objective.embed, batch), found, index)
            # DeepSpeed takes the mean over micro-batches; the loss is of their sum.
            self._engine.backward(_poisoned(part * count, found.loss))
        return found.loss, found.metrics

    def _autocast(self) -> torch.autocast:
        half = self.config.engine.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)

    def _update(self) -> tuple[float, bool]:
        """Change the weights if the gradient is finite: its norm before clipping, and whether it was."""
        if self.stage:
            # ZeRO computes the norm over all ranks, and drops the step if it is not finite.
            self._engine.step()
            norm, applied = float(self._engine.get_global_grad_norm()), bool(self._engine.was_step_applied())
            return norm if applied else float("nan"), applied
        norm = float(get_total_norm([p.grad for p in self.networks.parameters() if p.grad is not None]))
        applied = norm < float("inf")
        if applied:
            self._engine.step()
        else:
            self._engine.zero_grad()
        return norm, applied

    def _set_rates(self, rate: float, decay: float) -> None:
        for group in self._engine.optimizer.param_groups:
            group["lr"], group["weight_decay"] = rate, decay if group["decay"] else 0.0

    def _seed(self, micro: int) -> None:
        """Stochastic depth draws from torch's generator: seeded for every micro-batch, so no state outlives it."""
        seed = bits(self.config.seed, Draw.STEP, micro, self.gather.rank)
        torch.manual_seed(int(seed) >> 1)

    def _link(self) -> None:
        """Tell ZeRO 1 and 2 where AdamW's state of each parameter lies.

        DeepSpeed 0.19.8 does it once, when the first group of parameters was updated for the first time: those of the
        other groups had no state yet, and are never found.
        """
        if self.stage in (1, 2):
            zero = self._engine.optimizer
            for parameters, flat in zip(zero.bit16_groups, zero.single_partition_of_fp32_groups, strict=True):
                lazy_init_hp_params_optimizer_state(parameters, flat, self._adamw.state)

    def _moment(self, parameter: nn.Parameter, key: str) -> Tensor:
        found = self._adamw.state[parameter][key] if self.stage == 0 else safe_get_full_optimizer_state(parameter, key)
        assert isinstance(found, Tensor)
        return found

    def _set_moment(self, parameter: nn.Parameter, key: str, value: Tensor) -> None:
        if self.stage == 0:
            self._adamw.state[parameter][key].copy_(value)
        else:
            safe_set_full_optimizer_state(parameter, value, key)


class _Networks(nn.Module):
    """What DeepSpeed wraps: the objective's networks, with a function that uses them as forward."""

    def __init__(self, networks: nn.Module, autocast: Callable[[], torch.autocast]) -> None:
        super().__init__()
        self.networks = networks
        self._autocast = autocast

    def forward(self, function: Callable[[Batch], Any], batch: Batch) -> Any:
        with self._autocast():
            return function(batch)


def settings(config: PretrainConfig, world: int) -> dict[str, Any]:
    """DeepSpeed's own configuration."""
    accumulate = config.engine.accumulate
    return {
        "train_micro_batch_size_per_gpu": config.batch.captions // (world * accumulate),
        "gradient_accumulation_steps": accumulate,
        "gradient_clipping": config.optimizer.clip,
        "steps_per_print": None,
        "zero_allow_untested_optimizer": True,
        # DeepSpeed's own Adam for CPUs is C++ that is compiled when the run starts.
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {
            "stage": config.engine.zero_stage,
            # 50 MB of gradients at a time instead of 2 GB: a ViT is small, and so are laptops.
            "reduce_bucket_size": 12_500_000,
            "allgather_bucket_size": 12_500_000,
        },
    }


def _poisoned(loss: Tensor, judged: Tensor | None = None) -> Tensor:
    """The loss; if it (or `judged` in its place) is not finite, one whose every gradient is not a number, so that all
    ranks drop the step."""
    judged = loss.detach() if judged is None else judged
    return loss * torch.where(torch.isfinite(judged), 1.0, float("nan"))


def _whole(module: nn.Module) -> dict[str, Tensor]:
    return {name: _gathered(value).detach().cpu().clone() for name, value in module.state_dict(keep_vars=True).items()}


def _gathered(value: Any) -> Tensor:
    """A parameter or buffer as it was before ZeRO-3 cut it up."""
    if hasattr(value, "ds_id"):
        with deepspeed.zero.GatheredParameters([value]):
            return torch.clone(value.data)
    assert isinstance(value, Tensor)
    return value


def _calm() -> None:
    """Keep DeepSpeed from filling the log, and from compiling C++ that training never calls.

    On a CPU its communication backend builds `deepspeed_shm_comm` (for inference) with g++ when it starts: minutes on
    a small machine, and a failure where there is no compiler. It asks this table first, which it fills on first use.
    """
    deepspeed_logger.setLevel(logging.ERROR)
    deepspeed.ops.__compatible_ops__ = {}
