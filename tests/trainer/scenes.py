"""Small data and small configs for the tests of the training loop."""

import io

import numpy as np
from PIL import Image

from shards import Marker, Sample, Storage, commit
from tracking.config import TrackingConfig
from trainer.config import (
    AugmentConfig,
    BatchConfig,
    CheckpointConfig,
    EngineConfig,
    MetricsConfig,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    ScheduleConfig,
    SynCLRConfig,
)

VIEWS = 2


def jpeg(seed: int, side: int = 32) -> bytes:
    """A smooth picture of a colour of its own."""
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def sample(number: int, views: int = VIEWS) -> Sample:
    fields = {f"{view}.jpg": jpeg(1000 * number + view) for view in range(views)}
    return Sample(f"c{number:06}", fields | {"txt": f"caption {number}".encode(), "json": b"{}"})


def shard(storage: Storage, unit: int, samples: list[Sample], units: int) -> Marker:
    return commit(
        storage, "images", f"{unit:06}", samples, units=units, attempt="test", statistics={}, config={"made": "here"}
    )


def images(root: str, shards: int = 3, per_shard: int = 5, units: int | None = None) -> list[Marker]:
    """`shards` of `units` image shards under the root."""
    storage = Storage(root)
    numbers = np.arange(shards * per_shard).reshape(shards, per_shard)
    return [shard(storage, unit, [sample(int(n)) for n in row], units or shards) for unit, row in enumerate(numbers)]


def pretrain_config(root: str, **sections: object) -> PretrainConfig:
    """A run of a few steps that takes milliseconds: 16 pixels, two blocks of width 16."""
    base = PretrainConfig(
        root=root,
        run="test",
        seed=3,
        batch=BatchConfig(
            captions=4,
            images_per_caption=VIEWS,
            local_crops=2,
            local_size=8,
            global_scale=(0.4, 1.0),
            local_scale=(0.1, 0.4),
            augment=AugmentConfig(blur_kernel=3, blur_sigma=(0.1, 1.0), downsample=0.3, downsample_sizes=(8, 16)),
            window=2,
            workers=0,
            cache_bytes=0,
        ),
        model=ModelConfig(image_size=16, patch_size=4, width=16, depth=2, heads=2, drop_path=0.2),
        objective=SynCLRConfig(
            temperature=0.2,
            projector_hidden=32,
            embedding=16,
            prototypes=32,
            ibot_hidden=32,
            ibot_bottleneck=16,
            teacher_temperature_steps=4,
        ),
        optimizer=OptimizerConfig(),
        schedule=ScheduleConfig(steps=6, warmup_steps=2, lr=1e-2),
        engine=EngineConfig(zero_stage=0, precision="fp32", device="cpu", threads=1, hang_seconds=0),
        checkpoint=CheckpointConfig(every_steps=2, every_minutes=0, keep=2),
        metrics=MetricsConfig(every_steps=1),
        tracking=TrackingConfig(enabled=False),
    )
    return base.model_copy(update=sections)
