"""SuperClass's recipes.

`vit_s16`, `vit_b16` and `vit_l16` are the authors' runs of 512M samples (their configs): batches of 16384, learning
rate 5e-4, 500 steps of warm-up, whatever the size. For their runs of 1.28B: `--schedule.steps 78125`. `vit_l14` is
their largest, 12.8B samples in batches of 90112, with stronger augmentation. `rn50` is their ResNet's run of 1.28B
samples, for which they give no more: betas and epsilon are CLIP's for ResNets, the rest is as for the ViTs.
"""

from trainer.config import (
    AugmentConfig,
    OptimizerConfig,
    PretrainConfig,
    ScheduleConfig,
    SuperClassConfig,
    TokenizerConfig,
)
from trainer.recipes import clip


def vit_b16() -> PretrainConfig:
    """ViT-B/16."""
    base = clip.vit_b16()
    return base.model_copy(
        update={
            "run": "superclass-vit-b16",
            "batch": base.batch.model_copy(update={"captions": 16384}),
            "objective": SuperClassConfig(loss="softmax", idf=True, stop_words=True),
            "optimizer": OptimizerConfig(betas=(0.9, 0.98), epsilon=1e-6),
            "schedule": ScheduleConfig(
                steps=31_250, warmup_steps=500, lr=5e-4, weight_decay_start=0.2, weight_decay_end=0.2
            ),
        }
    )


def vit_s16() -> PretrainConfig:
    """ViT-S/16."""
    return vit_b16().model_copy(update={"run": "superclass-vit-s16", "model": clip.small()})


def vit_l16() -> PretrainConfig:
    """ViT-L/16."""
    return vit_b16().model_copy(update={"run": "superclass-vit-l16", "model": clip.large(patch=16)})


def vit_l14() -> PretrainConfig:
    """ViT-L/14, 12.8B samples: learning rate 1e-3, second beta 0.95, 10,000 steps of warm-up; crops of at least 0.4 of
    the image, colours jittered, gray."""
    base = vit_b16()
    colours = {"jitter": 0.8, "brightness": 0.32, "contrast": 0.32, "saturation": 0.32, "hue": 0.08, "gray": 0.2}
    augment = AugmentConfig.model_validate({**base.batch.augment.model_dump(), **colours})
    batch = base.batch.model_copy(update={"captions": 90112, "global_scale": (0.4, 1.0), "augment": augment})
    return base.model_copy(
        update={
            "run": "superclass-vit-l14",
            "batch": batch,
            "model": clip.large(patch=14),
            "optimizer": OptimizerConfig(betas=(0.9, 0.95), epsilon=1e-6),
            "schedule": base.schedule.model_copy(update={"steps": 142_045, "warmup_steps": 10_000, "lr": 1e-3}),
        }
    )


def rn50() -> PretrainConfig:
    """RN50, 1.28B samples."""
    base = vit_b16()
    return base.model_copy(
        update={
            "run": "superclass-rn50",
            "model": clip.resnet((3, 4, 6, 3)),
            "optimizer": clip.rn50().optimizer,
            "schedule": base.schedule.model_copy(update={"steps": 78_125}),
        }
    )


def nano() -> PretrainConfig:
    """A minute or two on two cores, on the small world's words."""
    objective = SuperClassConfig(tokenizer=TokenizerConfig(kind="words", context=24))
    return clip.nano().model_copy(update={"run": "superclass-nano", "objective": objective})
