"""DeCLIP's recipes.

`vit_b32` is the authors' run on YFCC15M (their configs): batches of 4096, learning rate 1e-3 after 2500 steps of
warm-up, 128,000 steps, MoCo v2's augmentation for both views, the patch embedding frozen. Their warm-up begins at 1e-4,
ours at 0. `rn50` is their run with CLIP's ResNet: the same but for a common space of 1024, and nothing is frozen. Say
where synonyms are: `--objective.text_view.synonyms`; without, words are swapped or deleted only.
"""

from trainer.config import (
    AugmentConfig,
    BatchConfig,
    DeCLIPConfig,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    ScheduleConfig,
    TextConfig,
    TextViewsConfig,
    TokenizerConfig,
)
from trainer.recipes import clip


def vit_b32() -> PretrainConfig:
    """ViT-B/32 with a text tower of width 512."""
    return PretrainConfig(
        run="declip-vit-b32",
        batch=BatchConfig(
            captions=4096,
            images_per_caption=1,
            global_crops=2,
            local_crops=0,
            global_scale=(0.2, 1.0),
            augment=AugmentConfig(saturation=0.4, blur=0.5, weak_blur=0.0, solarise=0.0, downsample=0.0),
        ),
        model=ModelConfig(image_size=224, patch_size=32, width=768, depth=12, heads=12, drop_path=0.0),
        objective=DeCLIPConfig(embedding=512, text=TextConfig(width=512, depth=12, heads=8), freeze_stem=True),
        optimizer=OptimizerConfig(betas=(0.9, 0.98)),
        schedule=ScheduleConfig(
            steps=128_000, warmup_steps=2500, lr=1e-3, weight_decay_start=0.1, weight_decay_end=0.1
        ),
    )


def rn50() -> PretrainConfig:
    """RN50 with a text tower of width 512."""
    base = vit_b32()
    objective = base.objective.model_copy(update={"embedding": 1024, "freeze_stem": False})
    return base.model_copy(update={"run": "declip-rn50", "model": clip.resnet((3, 4, 6, 3)), "objective": objective})


def nano() -> PretrainConfig:
    """A few minutes on two cores, on the small world's words and their synonyms."""
    base = clip.nano()
    objective = DeCLIPConfig(
        embedding=128,
        siamese_hidden=512,
        predictor_hidden=128,
        queue=1024,
        tokenizer=TokenizerConfig(kind="words", context=24),
        text=TextConfig(width=128, depth=2, heads=2),
        text_view=TextViewsConfig(synonyms="nano"),
    )
    batch = base.batch.model_copy(update={"captions": 64, "global_crops": 2})
    return base.model_copy(update={"run": "declip-nano", "objective": objective, "batch": batch})
