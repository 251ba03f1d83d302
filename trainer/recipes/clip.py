"""CLIP's recipes.

`vit_b32`, `vit_b16` and `vit_l14` are the paper's runs (Radford et al. 2021, Tables 18 to 20): 32 epochs of 400M pairs
in batches of 32768. So are `rn50`, `rn101`, `rn50x4`, `rn50x16` and `rn50x64`, whose image tower is a ResNet, with a
second beta and an epsilon of their own. `vit_s16` and `vit_l16` are the CLIP that SuperClass is compared with (Huang et
al. 2024): 512M pairs in batches of 16384; that paper gives these two numbers, rate and warm-up are those of its own
runs, the rest is as above. `nano` reads words.
"""

from trainer.config import (
    AugmentConfig,
    BatchConfig,
    CLIPConfig,
    ModelConfig,
    OptimizerConfig,
    PretrainConfig,
    ScheduleConfig,
    TextConfig,
    TokenizerConfig,
)
from trainer.recipes import synclr


def vit_b16() -> PretrainConfig:
    """ViT-B/16 with a text tower of width 512."""
    return PretrainConfig(
        run="clip-vit-b16",
        batch=BatchConfig(
            captions=32768, images_per_caption=1, local_crops=0, global_scale=(0.9, 1.0), augment=only_crops()
        ),
        model=ModelConfig(image_size=224, patch_size=16, width=768, depth=12, heads=12, drop_path=0.0),
        objective=CLIPConfig(embedding=512, text=TextConfig(width=512, depth=12, heads=8)),
        optimizer=OptimizerConfig(betas=(0.9, 0.98), epsilon=1e-6),
        schedule=ScheduleConfig(
            steps=390_625, warmup_steps=2000, lr=5e-4, weight_decay_start=0.2, weight_decay_end=0.2
        ),
    )


def vit_b32() -> PretrainConfig:
    """ViT-B/32: the same but for the patches."""
    base = vit_b16()
    return base.model_copy(
        update={"run": "clip-vit-b32", "model": base.model.model_copy(update={"patch_size": 32})},
    )


def vit_l14() -> PretrainConfig:
    """ViT-L/14 with a text tower of width 768, at the paper's lower rate for it."""
    base = vit_b16()
    return base.model_copy(
        update={
            "run": "clip-vit-l14",
            "model": large(patch=14),
            "objective": CLIPConfig(embedding=768, text=TextConfig(width=768, depth=12, heads=12)),
            "schedule": base.schedule.model_copy(update={"lr": 4e-4}),
        }
    )


def vit_s16() -> PretrainConfig:
    """ViT-S/16 with a text tower of width 384 (open_clip's)."""
    objective = CLIPConfig(embedding=384, text=TextConfig(width=384, depth=12, heads=6))
    return _compared("clip-vit-s16", small(), objective)


def vit_l16() -> PretrainConfig:
    """ViT-L/16 with a text tower of width 768 (open_clip's)."""
    objective = CLIPConfig(embedding=768, text=TextConfig(width=768, depth=12, heads=12))
    return _compared("clip-vit-l16", large(patch=16), objective)


def rn50() -> PretrainConfig:
    """RN50 with a text tower of width 512."""
    return _resnet("clip-rn50", resnet((3, 4, 6, 3)), embedding=1024, text=512)


def rn101() -> PretrainConfig:
    """RN101: three times the bottlenecks in the third stage, half the common space."""
    return _resnet("clip-rn101", resnet((3, 4, 23, 3)), embedding=512, text=512)


def rn50x4() -> PretrainConfig:
    """RN50 with four times the work, on images of 288 pixels."""
    return _resnet("clip-rn50x4", resnet((4, 6, 10, 6), width=2560, image_size=288), embedding=640, text=640)


def rn50x16() -> PretrainConfig:
    """Sixteen times, on images of 384 pixels, at the paper's lower rate for it."""
    model = resnet((6, 8, 18, 8), width=3072, image_size=384)
    return _resnet("clip-rn50x16", model, embedding=768, text=768, lr=4e-4)


def rn50x64() -> PretrainConfig:
    """Sixty-four times, on images of 448 pixels, at the paper's lower rate for it."""
    model = resnet((3, 15, 36, 10), width=4096, image_size=448)
    return _resnet("clip-rn50x64", model, embedding=1024, text=1024, lr=3.6e-4)


def nano() -> PretrainConfig:
    """A minute or two on two cores, on the small world's words."""
    base = synclr.comparable()
    objective = CLIPConfig(
        embedding=128,
        tokenizer=TokenizerConfig(kind="words", context=24),
        text=TextConfig(width=128, depth=2, heads=2),
    )
    batch = base.batch.model_copy(update={"captions": 128, "images_per_caption": 1})
    return base.model_copy(update={"run": "clip-nano", "objective": objective, "batch": batch})


def small() -> ModelConfig:
    """ViT-S/16."""
    return ModelConfig(image_size=224, patch_size=16, width=384, depth=12, heads=6, drop_path=0.0)


def large(patch: int) -> ModelConfig:
    """ViT-L."""
    return ModelConfig(image_size=224, patch_size=patch, width=1024, depth=24, heads=16, drop_path=0.0)


def resnet(bottlenecks: tuple[int, ...], width: int = 2048, image_size: int = 224) -> ModelConfig:
    """CLIP's modified ResNet; 2048 channels are RN50's and RN101's."""
    return ModelConfig(
        resnet=bottlenecks, image_size=image_size, patch_size=32, width=width, heads=width // 64, drop_path=0.0
    )


def _resnet(run: str, model: ModelConfig, embedding: int, text: int, lr: float = 5e-4) -> PretrainConfig:
    """`text`: width of the text tower, whose heads are 64 channels wide."""
    base = vit_b16()
    return base.model_copy(
        update={
            "run": run,
            "model": model,
            "objective": CLIPConfig(embedding=embedding, text=TextConfig(width=text, depth=12, heads=text // 64)),
            "optimizer": OptimizerConfig(betas=(0.9, 0.999), epsilon=1e-8),
            "schedule": base.schedule.model_copy(update={"lr": lr}),
        }
    )


def _compared(run: str, model: ModelConfig, objective: CLIPConfig) -> PretrainConfig:
    """512M pairs in batches of 16384."""
    base = vit_b16()
    return base.model_copy(
        update={
            "run": run,
            "model": model,
            "objective": objective,
            "batch": base.batch.model_copy(update={"captions": 16384}),
            "schedule": base.schedule.model_copy(update={"steps": 31_250, "warmup_steps": 500}),
        }
    )


def only_crops() -> AugmentConfig:
    """Crops alone: no flip, no colour; CLIP's mean and deviation."""
    return AugmentConfig(
        flip=0.0,
        jitter=0.0,
        gray=0.0,
        blur=0.0,
        weak_blur=0.0,
        solarise=0.0,
        downsample=0.0,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
    )
