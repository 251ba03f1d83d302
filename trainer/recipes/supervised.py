"""Recipes of supervised cross entropy on the concepts of captions.

SynCLR's Table 5 has such a column and does not give its settings; `vit_b16` takes those of SynCLR's recipe, one image
to a caption, and DeiT's label smoothing. Say which concepts: `--objective.classes FILE`.
"""

from trainer.config import PretrainConfig, SupervisedConfig
from trainer.recipes import synclr


def vit_b16() -> PretrainConfig:
    """ViT-B/16, 85k steps: the length of SynCLR's comparisons."""
    base = synclr.vit_b16()
    return base.model_copy(
        update={
            "run": "supervised-vit-b16",
            "objective": SupervisedConfig(),
            "batch": base.batch.model_copy(update={"captions": 8192, "images_per_caption": 1, "local_crops": 0}),
            "schedule": base.schedule.model_copy(update={"steps": 85_000, "warmup_steps": 13_600}),
        }
    )


def nano() -> PretrainConfig:
    """A minute or two on two cores, on the small world's concepts."""
    base = synclr.comparable()
    return base.model_copy(
        update={
            "run": "supervised-nano",
            "objective": SupervisedConfig(classes="nano"),
            "batch": base.batch.model_copy(update={"captions": 128, "images_per_caption": 1}),
        }
    )
