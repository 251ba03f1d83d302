"""SynCLR's generation at full size (Tian et al. 2024, section 3.1 and appendix A).

The concept lists are the reader's to provide under `concepts/`, one text file per dataset (the paper uses class names
of ImageNet, Places, SUN397 and others, and backgrounds written by GPT-4). Deviations: a language model of the reader's
choice in place of Llama-2-7B, and captions are checked and drawn anew where the paper keeps whatever comes.
"""

from generator.config import CaptionConfig, ConceptConfig, ConceptListConfig, GenerateConfig, ImageConfig, TemplateMix

_ALONE = TemplateMix(concept=1, background=0, relation=0)
# Weights of the sampling tree: 91 % objects, 8.8 % places, 0.2 % textures; the objects' own shares inside the 91 %.
_OBJECTS = {"imagenet_1k": 0.504, "imagenet_21k": 0.296, "cars": 0.06, "aircraft": 0.06, "food": 0.05, "flowers": 0.03}
_SUFFIX = {"cars": " car", "aircraft": " aircraft"}


def synclr() -> GenerateConfig:
    """150 million captions by Llama-2-7B, 600 million images by Stable Diffusion 1.5."""
    return GenerateConfig(
        root="runs/synclr",
        concept=ConceptConfig(
            lists=(
                *map(_objects, _OBJECTS),
                _alone("places", 0.088, "place"),
                _alone("textures", 0.002, "texture"),
            )
        ),
        caption=CaptionConfig(
            engine="vllm",
            model="meta-llama/Llama-2-7b-hf",
            count=150_000_000,
            temperature=0.8,
            top_p=0.9,
            max_new_tokens=100,
            precision="bf16",
        ),
        image=ImageConfig(
            model="stable-diffusion-v1-5/stable-diffusion-v1-5",
            per_caption=4,
            steps=50,
            guidance=2.5,
            eta=0.0,
            size=512,
            save_size=256,
        ),
    )


def _objects(name: str) -> ConceptListConfig:
    return ConceptListConfig(
        file=f"concepts/{name}.txt",
        weight=0.91 * _OBJECTS[name],
        suffix=_SUFFIX.get(name, ""),
        backgrounds=f"concepts/{name}_backgrounds.json",
        relations="package://generator/lists/relations.txt",
    )


def _alone(name: str, weight: float, examples: str) -> ConceptListConfig:
    return ConceptListConfig(file=f"concepts/{name}.txt", weight=weight, examples=examples, templates=_ALONE)
