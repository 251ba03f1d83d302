"""SimCLR's recipes: two views of one image, whatever its caption.

`vit_b16` has the paper's batch (4096 images) and temperature; the rest is that of SynCLR's recipe, so that objectives
differ in the objective: for ViTs the paper has no numbers, and SynCLR's Table 5 does not give those of its SimCLR.
`nano` sees as many views in a step as SynCLR's has images.
"""

from trainer.config import PretrainConfig, SimCLRConfig
from trainer.recipes import synclr


def vit_b16() -> PretrainConfig:
    """ViT-B/16, 85k steps: the length of SynCLR's comparisons."""
    base = synclr.vit_b16()
    return base.model_copy(
        update={
            "run": "simclr-vit-b16",
            "objective": SimCLRConfig(temperature=0.1),
            "batch": base.batch.model_copy(
                update={"captions": 4096, "images_per_caption": 1, "global_crops": 2, "local_crops": 0}
                | {"global_scale": (0.08, 1.0)}
            ),
            "schedule": base.schedule.model_copy(update={"steps": 85_000, "warmup_steps": 13_600}),
        }
    )


def nano() -> PretrainConfig:
    """A minute or two on two cores."""
    base = synclr.comparable()
    return base.model_copy(
        update={
            "run": "simclr-nano",
            "objective": SimCLRConfig(temperature=0.1, projector_hidden=512, embedding=128, head_norm="batch"),
            "batch": base.batch.model_copy(update={"captions": 64, "images_per_caption": 1, "global_crops": 2}),
        }
    )
