"""Its prompts are the caption stage's, its training survives SIGKILL, its weights do as its card says."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM

from generator import prompt
from generator.concepts import Request
from nano import captions, world
from nano import vocabulary as words
from nano.captioner import WEIGHTS, measure, text, train

LINES = text.library(0, 120)


def samples(count: int, seed: int = 0) -> list[tuple[str, str]]:
    rng = np.random.default_rng(seed)
    return [text.sample(LINES, rng) for _ in range(count)]


# What it reads


def test_a_training_prompt_is_the_caption_stages_own() -> None:
    for asked, answer in samples(100):
        instruction, *shown, last = asked.split("\n")
        assert len(shown) == prompt.EXAMPLES
        assert all(line.count(" => ") == 1 for line in shown)
        assert last.endswith(" =>")
        assert answer == f" {prompt.completion(answer)}\n"
        pair = "," in last
        again = [prompt.Example(*_key(line.split(" => ")[0], pair), line.split(" => ")[1]) for line in shown]
        template: prompt.Template = (
            "background" if "background" in instruction else "relation" if "relation" in instruction else "concept"
        )
        assert prompt.prompt(template, again, *_key(last.removesuffix(" =>"), pair)) == asked


def _key(written: str, pair: bool) -> tuple[str, str | None]:
    concept, _, other = written.partition(", ")
    return concept, other if pair else None


@pytest.mark.parametrize("pool", text.TEMPLATES)
def test_every_line_names_the_whole_of_its_key(pool: str) -> None:
    for one in (line.example for line in LINES[pool]):
        assert captions.names(one.caption, one.concept)
        assert one.other is None or captions.names(one.caption, one.other)
        told = captions.parse(one.caption)
        if pool == "relation":
            assert told.shapes[0] == one.concept
            assert len(told.shapes) == len(told.colours) == 2
        else:
            assert len(told.shapes) == len(told.colours) == 1


def test_the_captions_of_a_prompt_bring_something_new_each() -> None:
    for asked, answer in samples(200):
        lines = [*(line.split(" => ")[1] for line in asked.split("\n")[1:-1]), answer.strip()]
        told = [captions.parse(line) for line in lines]
        assert len({t.colours[0] for t in told}) == len(told)


def test_every_pool_is_trained_on_in_its_share() -> None:
    assert set(text.SHARES) == set(text.TEMPLATES)
    assert sum(text.SHARES.values()) == pytest.approx(1)
    found = Counter(asked.split("\n")[0] for asked, _ in samples(600))
    assert found[prompt.prompt("relation", (), "x").split("\n")[0]] / 600 == pytest.approx(0.25, abs=0.06)


def test_lines_depend_on_the_seed_alone() -> None:
    assert text.library(3, 5) == text.library(3, 5) != text.library(4, 5)


# Its tokens


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(WEIGHTS)


@pytest.mark.parametrize(
    "said",
    [
        "star, left of => a red star left of a blue bar\n",
        "Write a short image description for the object and the background.\nstar, night sky =>",
        " two  spaces,\ttab\n\nand Ünïcode => 漢字 !",
    ],
)
def test_any_text_survives_the_tokenizer(tokenizer: Any, said: str) -> None:
    assert tokenizer.decode(tokenizer(said).input_ids) == said


def test_a_word_of_the_world_is_one_token(tokenizer: Any) -> None:
    for word in (*words.SHAPES, *words.COLOURS, *words.TEXTURES, *words.SIZES, "=>"):
        assert len(tokenizer(f" {word}").input_ids) == 1, word
    for shape in words.SHAPES:
        assert len(tokenizer(f"\n{shape}").input_ids) == 2, shape


def test_a_library_too_small_for_a_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no 4 of 3 lines of pool .* share nothing"):
        text.sample(text.library(0, 3), np.random.default_rng(0))


def test_the_loss_is_on_captions_and_their_ends_alone() -> None:
    tokenizer = train.tokenizer_of(LINES)
    ids_BT, told_BT = train.batch_of(LINES, tokenizer, 8, (0, 5))
    rng = np.random.default_rng((0, 5))
    for ids_T, told_T in zip(ids_BT, told_BT, strict=True):
        asked, answer = text.sample(LINES, rng)
        shown = [line.split(" =>")[1] + "\n" for line in asked.split("\n")[1:-1]]
        assert tokenizer.decode(ids_T[told_T]) == "".join([*shown, answer])


# Its training

TINY = train.Setup(steps=12, batch=4, width=64, layers=1, library=400, validation=100)


@pytest.mark.slow
def test_a_second_training_gives_the_same_weights(tmp_path: Path) -> None:
    for name in ("one", "two"):
        train.train(tmp_path / name, tmp_path / name / "weights", TINY)
    one, two = (load_file(tmp_path / name / "weights" / "model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[key], two[key]) for key in one)
    logged = [json.loads(line) for line in (tmp_path / "one" / "training.jsonl").read_text().splitlines()]
    assert logged[-1]["step"] == 12
    assert {"loss", "validation_loss"} <= set(logged[-1])


@pytest.mark.slow
def test_training_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    """SIGKILL at some moment, the same command again, until it ends: the weights of an uninterrupted training."""
    setup = replace(TINY, steps=250)
    train.train(tmp_path / "whole", tmp_path / "whole" / "weights", setup)
    script = (
        "from pathlib import Path; from nano.captioner import train; "
        f"train.train(Path('{tmp_path}/killed'), Path('{tmp_path}/killed/weights'), train.{setup!r})"
    )
    command = [sys.executable, "-c", script]
    process = subprocess.Popen(command)
    checkpoint = tmp_path / "killed" / "captioner.pt"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "weights").exists()
    second = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "continues at step" in second.stdout
    whole, killed = (load_file(tmp_path / name / "weights" / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[key], killed[key]) for key in whole)


# What it learnt


@pytest.fixture(scope="module")
def quality() -> Any:
    """256 captions, asked as the caption stage does; quality.json holds the numbers of 10,000."""
    return measure.measure(WEIGHTS, 256, seed=7)


def test_the_weights_are_a_llama_small_enough() -> None:
    model = AutoModelForCausalLM.from_pretrained(WEIGHTS)
    assert isinstance(model, LlamaForCausalLM)
    assert model.num_parameters() <= 5_000_000
    assert model.config.head_dim in (32, 64, 80, 96, 128)  # what vLLM's attention on CPUs knows


def test_captions_name_what_was_asked(quality: Any) -> None:
    assert quality["as_asked"] >= 0.97


def test_captions_differ(quality: Any) -> None:
    assert quality["distinct"] >= 0.95


def test_the_recorded_quality_is_that_of_these_weights_and_good_enough() -> None:
    recorded = json.loads(measure.QUALITY.read_text("utf-8"))
    assert recorded["captions"] == 10_000
    assert recorded["as_asked"] >= 0.97
    assert recorded["well_formed"] >= 0.97
    assert recorded["distinct"] >= 0.90
    assert recorded["parameters"] == AutoModelForCausalLM.from_pretrained(WEIGHTS).num_parameters()
    assert all(recorded[f"evenness_of_{name}"]["entropy"] > 0.95 for name in ("colours", "textures", "backgrounds"))


@pytest.mark.parametrize(
    ("written", "template", "concept", "other", "right"),
    [
        ("a red star on snow", "concept", "star", None, True),
        ("a red star on snow", "background", "star", "snow", True),
        ("a red star on snow", "background", "star", "sand", False),
        ("a red star on snow", "concept", "heart", None, False),
        ("a star on snow", "concept", "star", None, False),  # no colour
        ("a red star star", "concept", "star", None, False),
        ("a red star left of a blue bar", "relation", "star", "left of", True),
        ("a red star left of a blue bar", "relation", "bar", "left of", False),  # the concept comes first
        ("a red star left of a blue bar", "relation", "star", "above", False),
        ("a red star left of a blue bar", "concept", "star", None, False),  # one thing was asked
        ("a red star on the left", "relation", "star", "left of", False),
    ],
)
def test_as_asked_is_strict(
    written: str, template: prompt.Template, concept: str, other: str | None, right: bool
) -> None:
    pool = "object" if template == "concept" else template
    assert measure.as_asked(written, Request(0, "0.0", template, pool, 0, concept, other)) is right


def test_well_formed_is_the_worlds_own_grammar() -> None:
    rng = np.random.default_rng(0)
    for index in range(1000):
        assert measure.well_formed(captions.describe(world.scene(0, "train", index, pairs=0.3), rng))
    for broken in (
        "a red star on snow in the sea",
        "an red star",
        "a star red",
        "a red big star",
        "a red star to the left a blue bar",
        "a red star on the left above a blue bar",
        "a red star star",
        "",
    ):
        assert not measure.well_formed(broken), broken


def test_evenness_by_hand() -> None:
    """Counts 2, 1, 1, 0 of 4 words: entropy 1.5 bits of 2; rarest 0, commonest half, twice the uniform quarter."""
    found = measure.evenness(Counter({"a": 2, "b": 1, "c": 1}), "abcd")
    assert found == pytest.approx({"entropy": 0.75, "rarest": 0.0, "commonest": 2.0})
