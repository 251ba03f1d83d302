"""StableRep's recipes.

`vit_b16` is the authors' run on CC12M (their README): 1376 captions of 6 images a step (8256 images), learning rate
2e-4 * 8256 / 256 / 2, 15 epochs of 11M captions with half an epoch of warm-up. `plus_vit_b16` is StableRep++.
"""

from trainer.config import (
    AugmentConfig,
    BatchConfig,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    ScheduleConfig,
    StableRepConfig,
    TextConfig,
    TokenizerConfig,
)
from trainer.recipes import synclr


def vit_b16() -> PretrainConfig:
    """ViT-B/16, images only."""
    return PretrainConfig(
        run="stablerep-vit-b16",
        batch=BatchConfig(
            captions=1376,
            images_per_caption=6,
            local_crops=0,
            global_scale=(0.08, 1.0),
            augment=AugmentConfig(saturation=0.4, blur=0.5, weak_blur=0.0, solarise=0.0),
        ),
        model=ModelConfig(image_size=224, patch_size=16, width=768, depth=12, heads=12, drop_path=0.0),
        objective=StableRepConfig(temperature=0.1),
        optimizer=OptimizerConfig(betas=(0.9, 0.98)),
        schedule=ScheduleConfig(
            steps=120_000, warmup_steps=4_000, lr=3.225e-3, weight_decay_start=0.1, weight_decay_end=0.1
        ),
    )


def plus_vit_b16() -> PretrainConfig:
    """StableRep++: the same with a text tower."""
    base = vit_b16()
    return base.model_copy(
        update={"run": "stablerep-plus-vit-b16", "objective": StableRepConfig(temperature=0.1, text_weight=1.0)}
    )


def nano() -> PretrainConfig:
    """A minute or two on two cores."""
    base = synclr.comparable()
    return base.model_copy(
        update={
            "run": "stablerep-nano",
            "objective": StableRepConfig(temperature=0.1, projector_hidden=512, embedding=128, head_norm="batch"),
        }
    )


def plus_nano() -> PretrainConfig:
    """The same with text."""
    base = nano()
    objective = StableRepConfig(
        temperature=0.1,
        projector_hidden=512,
        embedding=128,
        head_norm="batch",
        text_weight=1.0,
        text_embedding=128,
        tokenizer=TokenizerConfig(kind="words", context=24),
        text=TextConfig(width=128, depth=2, heads=2),
    )
    return base.model_copy(update={"run": "stablerep-plus-nano", "objective": objective})
