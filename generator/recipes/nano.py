"""The small world on a laptop: nano's own lists, captioner and painter, from the installed package."""

from generator.config import (
    CaptionConfig,
    ConceptConfig,
    ConceptListConfig,
    GenerateConfig,
    ImageConfig,
    LeaseConfig,
    TemplateMix,
)

_LISTS = "package://nano/lists"
_ALONE = TemplateMix(concept=1, background=0, relation=0)
_LEASE = LeaseConfig(ttl=60.0, poll=0.5)  # units take seconds, and looking at a local disk costs nothing


def nano() -> GenerateConfig:
    """256 captions and 1024 images in minutes on two cores."""
    return GenerateConfig(
        root="runs/nano",
        concept=_concepts(group=1),
        caption=_captions(256, 32),
        image=_images(),
        lease=_LEASE,
    )


def nano_long() -> GenerateConfig:
    """2048 captions and 8192 images. Captions come in groups that differ in the shape alone, which is learnt last."""
    return GenerateConfig(
        root="runs/nano_long",
        concept=_concepts(group=16),
        caption=_captions(2048, 128),
        image=_images(),
        lease=_LEASE,
    )


def _concepts(group: int) -> ConceptConfig:
    objects = ConceptListConfig(
        file=f"{_LISTS}/objects.txt",
        weight=0.90,
        backgrounds=f"{_LISTS}/backgrounds.txt",
        relations=f"{_LISTS}/relations.txt",
    )
    places = ConceptListConfig(file=f"{_LISTS}/backgrounds.txt", weight=0.06, examples="place", templates=_ALONE)
    textures = ConceptListConfig(file=f"{_LISTS}/textures.txt", weight=0.04, examples="texture", templates=_ALONE)
    return ConceptConfig(lists=(objects, places, textures), group=group)


def _captions(count: int, per_unit: int) -> CaptionConfig:
    return CaptionConfig(
        model="package://nano/captioner/weights",
        count=count,
        per_unit=per_unit,
        examples=f"{_LISTS}/examples",
        max_new_tokens=40,
        max_flagged=0.2,
        batch=32,
    )


def _images() -> ImageConfig:
    return ImageConfig(
        model="package://nano/painter/weights",
        steps=12,  # within a point of what 20 show (nano/README.md)
        size=64,
        save_size=64,
        batch=32,
        subsampling="4:4:4",
        precision="auto",
    )
