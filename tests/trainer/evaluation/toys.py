"""Small labelled data and a small checkpoint."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nano import renders
from nano.renders import RendersConfig
from shards import Storage
from tracking import TrackingConfig
from trainer import objectives
from trainer.checkpoint import Checkpoints, Progress
from trainer.config import (
    EvaluateConfig,
    LinearProbeConfig,
    ModelConfig,
    ObjectiveConfig,
    PretrainConfig,
    ScheduleConfig,
)
from trainer.dataset import Dataset
from trainer.distributed import Single
from trainer.evaluation.features import Features, random_encoder

MODEL = ModelConfig(image_size=32, patch_size=8, width=16, depth=1, heads=2)
PROBE = LinearProbeConfig(epochs=20, batch=32)


def features(vectors: Tensor, label_N: Tensor, task: str = "shape") -> Features:
    return Features(vectors, {task: label_N})


def clusters(count: int, classes: int, spread: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Points around one unit vector per class."""
    generator = torch.Generator().manual_seed(seed)
    label_N = torch.arange(count) % classes
    return torch.eye(classes)[label_N] + spread * torch.randn(count, classes, generator=generator), label_N


def evaluation(root: Path, **changes: object) -> EvaluateConfig:
    probe = LinearProbeConfig(epochs=3, batch=32)
    base = EvaluateConfig(root=str(root), run="toy", linear_probe=probe, tracking=TrackingConfig(enabled=False))
    knn = base.knn.model_copy(update={"neighbours": (5, 1)})
    return base.model_copy(update={"knn": knn, **changes})


def write_data(root: Path, train: int = 60, test: int = 30) -> None:
    renders.main(RendersConfig(data=f"{root}/labelled", train=train, test=test, side=32))


def write_checkpoint(root: Path, step: int = 8, seed: int = 5, steps: int = 8) -> None:
    """A checkpoint with the parts that an evaluation reads."""
    config = PretrainConfig(run="toy", model=MODEL, schedule=ScheduleConfig(steps=steps, warmup_steps=0))
    tensors = {"encoder.safetensors": random_encoder(MODEL, seed).state_dict()}
    save(root, config, tensors, step)


def write_objective(root: Path, objective: ObjectiveConfig, model: ModelConfig = MODEL) -> None:
    """A checkpoint of any objective with random weights."""
    config = PretrainConfig(run="toy", schedule=ScheduleConfig(steps=8, warmup_steps=0))
    torch.manual_seed(0)
    built = objectives.build(objective, model, Single(), steps=8)
    modules = {"model.safetensors": built.modules(), "encoder.safetensors": built.encoder()}
    tensors = {name: dict(module.state_dict()) for name, module in modules.items()}
    batch = config.batch.model_copy(update={"local_crops": 0})
    save(root, config.model_copy(update={"objective": objective, "model": model, "batch": batch}), tensors, 8)


def save(root: Path, config: PretrainConfig, tensors: Mapping[str, Mapping[str, Tensor]], step: int) -> None:
    progress = Progress(step=step, batches=step, updates=step)
    Checkpoints(Storage(str(root)), "toy").save(config, progress, Dataset((), ""), tensors, keep=9)
