"""SynCLR's recipes.

`vit_b16` and `vit_l14` carry the numbers of the paper ("Learning Vision from Models Rivals Learning Vision from Data",
Table 12 and Sec. 3.4). They are the defaults of `trainer/config.py`; what is written here is written for the reader.
`nano`, `nano_long` and `nano_compared` are the same objective made small: 64-pixel images of the nano world on two
cores. `comparable` is what the small recipes of all objectives share.
"""

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


def vit_b16() -> PretrainConfig:
    """ViT-B/16, the paper's long run: 500k steps of 8192 captions, 4 images each."""
    return PretrainConfig(
        run="synclr-vit-b16",
        batch=BatchConfig(captions=8192, images_per_caption=4, local_crops=4, local_size=96),
        model=ModelConfig(image_size=224, patch_size=16, width=768, depth=12, heads=12, drop_path=0.1),
        objective=SynCLRConfig(temperature=0.08, prototypes=65536, contrast_weight=1.0, ibot_weight=1.0),
        optimizer=OptimizerConfig(betas=(0.9, 0.999)),
        schedule=ScheduleConfig(
            steps=500_000, warmup_steps=80_000, lr=2e-3, weight_decay_start=0.04, weight_decay_end=0.2
        ),
    )


def vit_l14() -> PretrainConfig:
    """ViT-L/14, the paper's long run. Local crops are 98 pixels, not 96: 96 is no multiple of 14 (DINOv2's choice)."""
    base = vit_b16()
    return PretrainConfig(
        run="synclr-vit-l14",
        batch=base.batch.model_copy(update={"local_size": 98}),
        model=ModelConfig(image_size=224, patch_size=14, width=1024, depth=24, heads=16, drop_path=0.4),
        objective=base.objective,
        optimizer=base.optimizer,
        schedule=base.schedule.model_copy(update={"lr": 1.5e-3}),
    )


def nano() -> PretrainConfig:
    """A few minutes on two cores. Colour is one of the things evaluated, so colours are hardly touched, and a global
    crop keeps at least half of the image, so that it keeps the object."""
    return PretrainConfig(
        run="synclr-nano",
        batch=BatchConfig(
            captions=32,
            global_scale=(0.5, 1.0),
            local_crops=2,
            local_size=32,
            local_scale=(0.15, 0.5),
            augment=_mild(),
            window=4,
            workers=0,
            memory_bytes=1_000_000_000,
        ),
        model=ModelConfig(image_size=64, patch_size=8, width=128, depth=4, heads=4, drop_path=0.0),
        objective=SynCLRConfig(
            temperature=0.1,
            projector_hidden=512,
            embedding=128,
            prototypes=1024,
            ibot_hidden=512,
            ibot_bottleneck=128,
            teacher_temperature_steps=100,
            ema_start=0.98,  # at 0.994 the teacher would keep two fifths of its first weights to the end
        ),
        optimizer=OptimizerConfig(clip=3.0),
        schedule=ScheduleConfig(steps=300, warmup_steps=30, lr=2e-3, weight_decay_end=0.1),
        engine=EngineConfig(zero_stage=0, precision="bf16", device="cpu"),
        checkpoint=CheckpointConfig(every_steps=200, every_minutes=1.0, keep=2),
        metrics=MetricsConfig(every_steps=10),
    )


def nano_long() -> PretrainConfig:
    """The same until shape is learnt, the last thing to come: at most two hours on two cores.

    What lets it come: a convolutional stem, weights as wide as 128 channels need, BatchNorm in the heads, a low
    temperature, crops that hold the whole object, and captions that differ in the shape alone, two or three of them in
    a batch. Masked patches and local crops hide the outline and are left out.
    """
    base = comparable()
    return base.model_copy(
        update={
            "run": "synclr-nano-long",
            "objective": base.objective.model_copy(
                update={"temperature": 0.05, "ibot_weight": 0.0, "head_norm": "batch"}
            ),
            "schedule": ScheduleConfig(steps=3600, warmup_steps=40, lr=2e-3, weight_decay_end=0.1),
            "checkpoint": CheckpointConfig(every_steps=300, every_minutes=5.0, keep=2),
            "metrics": MetricsConfig(every_steps=25),
        }
    )


def comparable() -> PretrainConfig:
    """What the small recipes of all objectives share: `nano` with what `nano_long` found to matter whatever the loss (a
    convolutional stem, weights as wide as 128 channels need, crops that hold the whole object)."""
    base = nano()
    return base.model_copy(
        update={
            "batch": base.batch.model_copy(update={"global_scale": (0.8, 1.0), "local_crops": 0, "window": 2}),
            "model": base.model.model_copy(update={"stem": "conv", "init": "xavier"}),
        }
    )


def nano_compared() -> PretrainConfig:
    """A few minutes on two cores, beside the `nano` recipes of the other objectives: the objective of `nano_long`."""
    return comparable().model_copy(update={"run": "synclr-nano-compared", "objective": nano_long().objective})


def _mild() -> AugmentConfig:
    """Jitter that leaves a colour its name; no gray, no solarisation; blur and downsampling sized for 64 pixels."""
    return AugmentConfig(
        jitter=0.8,
        brightness=0.2,
        contrast=0.2,
        saturation=0.1,
        hue=0.02,
        gray=0.0,
        blur=0.0,
        weak_blur=0.1,
        solarise=0.0,
        local_blur=0.0,
        blur_sigma=(0.1, 1.0),
        blur_kernel=5,
        downsample=0.0,
        downsample_sizes=(16, 32),
    )
