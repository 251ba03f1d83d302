"""How well the painter follows captions: `python -m nano.painter.measure` (writes quality.json beside the weights).

Single-thing captions of the world's test stream, four pictures each at CFG 2.5, are read by the judge. A picture counts
as right when shape and colour are both as the caption says. The four pictures of a caption must differ: we report the
mean absolute pixel difference (0 to 255) between two of the four, the same between renders of one caption, and the
share of captions of which two pictures are nearer than 2 levels.
"""

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from nano import captions, world
from nano import vocabulary as words
from nano.painter import WEIGHTS, data, judge

PER_CAPTION = 4
FIRST_SCENE = 10_000  # of the test stream; the judge itself is measured on those before


def measure(
    pipe: StableDiffusionPipeline, reader: judge.Judge, *, count: int, steps: int, guidance: float
) -> dict[str, float]:
    scenes = data.scenes(FIRST_SCENE, count, split="test", pairs=0.0)
    rng = np.random.default_rng(0)
    texts = data.told(scenes, rng)
    right = np.zeros(3)
    painted, rendered = [], []
    for first in range(0, count, 16):
        image = paint(pipe, texts[first : first + 16], steps, guidance, seed=first)
        for i, (shape, colour) in enumerate(judge.read(reader, image)):
            thing = scenes[first + i // PER_CAPTION].things[0]
            hits = (words.SHAPES[shape] == thing.shape, tuple(words.COLOURS)[colour] == thing.colour)
            right += (*hits, all(hits))
        painted += [differences(four) for four in image.unflatten(0, (-1, PER_CAPTION))]
        rendered += [differences(data.pictures(like(text, rng))[0]) for text in texts[first : first + 16]]
    shape, colour, both = (right / (count * PER_CAPTION)).tolist()
    return {
        "pictures": count * PER_CAPTION,
        "shape_right": shape,
        "colour_right": colour,
        "shape_and_colour_right": both,
        "difference_of_two_painted_levels": float(np.mean([mean for _, mean in painted])),
        "difference_of_two_renders_levels": float(np.mean([mean for _, mean in rendered])),
        "captions_with_two_alike": float(np.mean([least < 2 for least, _ in painted])),
    }


def like(text: str, rng: np.random.Generator) -> list[world.Scene]:
    """Four renders of what `text` tells: what it leaves open is drawn anew for each."""
    said = captions.parse(text)
    found: list[world.Scene] = []
    while len(found) < PER_CAPTION:
        scene = world.scene(data.SCENES_SEED, "judge", int(rng.integers(2**40)))
        thing = replace(scene.things[0], shape=said.shapes[0], colour=said.colours[0])
        thing = replace(thing, texture=said.texture or thing.texture)
        if said.size in (None, thing.size):
            found.append(replace(scene, things=(thing,), background=said.background or scene.background))
    return found


def paint(pipe: StableDiffusionPipeline, texts: list[str], steps: int, guidance: float, seed: int) -> Tensor:
    """Four pictures a caption, [4 * len(texts), 3, 64, 64] in -1..1."""
    generators = [torch.Generator().manual_seed(seed * PER_CAPTION + i) for i in range(len(texts) * PER_CAPTION)]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        image: Tensor = pipe(
            texts,
            num_inference_steps=steps,
            guidance_scale=guidance,
            num_images_per_prompt=PER_CAPTION,
            generator=generators,
            output_type="pt",
        ).images
    return image.float() * 2 - 1


def differences(four: Tensor) -> tuple[float, float]:
    """Least and mean absolute difference, in grey levels (0 to 255), between two of the pictures."""
    pairs = [(a - b).abs().mean().item() * 127.5 for a, b in itertools.combinations(four, 2)]
    return min(pairs), sum(pairs) / len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=int, default=500)
    parser.add_argument("--steps", type=int, default=25, help="DDIM steps")
    parser.add_argument("--guidance", type=float, default=2.5)
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--judge", type=Path, default=judge.FILE)
    arguments = parser.parse_args()
    pipe = StableDiffusionPipeline.from_pretrained(arguments.weights, safety_checker=None, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    pipe.unet.set_attn_processor(AttnProcessor())
    reader = judge.load(arguments.judge)
    found = measure(pipe, reader, count=arguments.captions, steps=arguments.steps, guidance=arguments.guidance)
    found |= {"steps": arguments.steps, "guidance": arguments.guidance, "judge_on_renders": judge.accuracy(reader)}
    text = json.dumps(found, indent=2) + "\n"
    (arguments.weights.parent / "quality.json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
