"""The painter ships as a StableDiffusionPipeline that stock diffusers loads, and it paints what it is told."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.models.attention_processor import AttnProcessor

from nano import vocabulary as words
from nano.painter import WEIGHTS, data, judge, measure, models


@pytest.fixture(scope="module")
def pipe() -> StableDiffusionPipeline:
    pipe = StableDiffusionPipeline.from_pretrained(WEIGHTS, safety_checker=None, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    pipe.unet.set_attn_processor(AttnProcessor())
    return pipe


def test_every_word_of_the_world_is_one_token(tmp_path: Path) -> None:
    tokens = models.tokenizer(tmp_path)
    for word in (*words.SHAPES, *words.COLOURS, "striped", "meadow", "corner"):
        assert len(tokens(word).input_ids) == 3, word  # start, word, end


def test_unknown_words_fall_apart_into_letters(tmp_path: Path) -> None:
    tokens = models.tokenizer(tmp_path)
    assert tokens.convert_ids_to_tokens(tokens("zoo").input_ids)[1:-1] == ["z", "o", "o</w>"]


def test_all_weights_of_the_small_world_are_safetensors_of_at_most_40_megabytes() -> None:
    files = [f for f in WEIGHTS.parent.parent.rglob("*") if f.suffix in {".safetensors", ".bin", ".pt", ".pth"}]
    assert {f.suffix for f in files} == {".safetensors"}
    assert sum(f.stat().st_size for f in files) <= 40e6


def test_the_judge_reads_held_out_renders() -> None:
    assert judge.accuracy(judge.load(), 500) >= 0.96  # its card says 97 % or more of 4,000


def found_with(pipe: StableDiffusionPipeline, guidance: float) -> dict[str, float]:
    return measure.measure(pipe, judge.load(), count=16, steps=10, guidance=guidance)


def test_pictures_show_what_their_captions_say_and_differ_and_guidance_helps(pipe: StableDiffusionPipeline) -> None:
    """The card says 89 % of 600; of 64 pictures one run in ten thousand would then show under 75 %.

    Of colours it says 99 %. The same 64 without guidance: 81 % in place of 97 %.
    """
    guided, plain = found_with(pipe, 2.5), found_with(pipe, 1.0)
    assert guided["colour_right"] >= 0.85
    assert guided["shape_and_colour_right"] >= 0.75
    assert guided["captions_with_two_alike"] == 0
    assert guided["shape_and_colour_right"] > plain["shape_and_colour_right"]


def test_the_card_says_what_the_measure_wrote() -> None:
    quality = json.loads((WEIGHTS.parent / "quality.json").read_text())
    card = (WEIGHTS.parent.parent / "README.md").read_text()
    assert quality["guidance"] == 2.5
    assert quality["judge_on_renders"] >= 0.97
    for name in ("shape_right", "colour_right", "shape_and_colour_right"):
        assert f"| {name} | {quality[name]:.3f} |" in card


def test_batches_are_a_function_of_their_index() -> None:
    first, again = (data.pictures(data.scenes(40, 4, split="painter")) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
