"""SigLIP's recipes.

`vit_b16` has the paper's batch (32768, where it found the gain of larger ones to end), initial scale and bias, and its
second beta of 0.95, which it needs at large batches; what it does not share with CLIP's recipe else (its optimiser is
Adafactor) is left as there. `vit_l16` is the same a size larger, with the paper's text tower of the same size (here 224
pixels, where its L/16 is published at 256 and 384).
"""

from trainer.config import OptimizerConfig, PretrainConfig, SigLIPConfig, TextConfig, TokenizerConfig
from trainer.recipes import clip


def vit_b16() -> PretrainConfig:
    """ViT-B/16 with a text tower of the same size."""
    return clip.vit_b16().model_copy(
        update={
            "run": "siglip-vit-b16",
            "objective": SigLIPConfig(embedding=768, text=TextConfig(width=768, depth=12, heads=12)),
            "optimizer": OptimizerConfig(betas=(0.9, 0.95)),
        }
    )


def vit_l16() -> PretrainConfig:
    """ViT-L/16 with a text tower of the same size."""
    return vit_b16().model_copy(
        update={
            "run": "siglip-vit-l16",
            "model": clip.large(patch=16),
            "objective": SigLIPConfig(embedding=1024, text=TextConfig(width=1024, depth=24, heads=16)),
        }
    )


def nano() -> PretrainConfig:
    """A minute or two on two cores, on the small world's words."""
    objective = SigLIPConfig(
        embedding=128,
        tokenizer=TokenizerConfig(kind="words", context=24),
        text=TextConfig(width=128, depth=2, heads=2),
    )
    return clip.nano().model_copy(update={"run": "siglip-nano", "objective": objective})
