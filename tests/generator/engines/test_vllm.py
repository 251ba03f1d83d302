"""The engine `vllm`, in the environment that `make vllm-env` makes: on the tiny random Llama, on nano's captioner and
on a real model of 270 million parameters. Loading vLLM takes most of a minute, so each model is loaded once.
"""

import json
import os
from pathlib import Path

import pytest

from config import ConfigError
from config.cli import resolve
from generator import prompt
from generator.caption import caption
from generator.check import names
from generator.config import CaptionConfig, GenerateConfig, VllmConfig
from generator.engines import CaptionEngine, build
from generator.recipes import RECIPES
from shards import Storage, markers, read_samples
from tests.generator.gemma import gemma

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1200)]

os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
SETTINGS = VllmConfig(max_model_len=512, enforce_eager=True)


def engine(model: object, **changes: object) -> CaptionEngine:
    given = {"model": str(model), "count": 1, "engine": "vllm", "vllm": SETTINGS, "max_new_tokens": 40, **changes}
    return build(CaptionConfig.model_validate(given))


@pytest.fixture(scope="module")
def tiny(models_folder: Path) -> CaptionEngine:
    return engine(models_folder / "captioner", max_new_tokens=12)


PROMPTS = ["a red star =>", "fish =>", "a blue heart in the sea =>", "drop =>"] * 4
SEEDS = [*range(15), 2**62 + 1]


def test_a_unit_made_again_has_the_same_words(tiny: CaptionEngine) -> None:
    first = tiny.complete(PROMPTS, SEEDS)
    assert tiny.complete(PROMPTS, SEEDS) == first
    assert len(set(first)) > 12


def test_seeds_belong_to_their_prompts_in_order(tiny: CaptionEngine) -> None:
    first = tiny.complete(PROMPTS, SEEDS)
    turned = tiny.complete(PROMPTS[::-1], SEEDS[::-1])[::-1]
    assert sum(a == b for a, b in zip(first, turned, strict=True)) >= 14  # rounding may turn a draw, not an order


def test_a_caption_ends_at_its_line(tiny: CaptionEngine) -> None:
    assert all("\n" not in text for text in tiny.complete(["star =>"] * 64, list(range(64))))


def test_versions_name_the_library(tiny: CaptionEngine) -> None:
    assert set(tiny.versions) == {"vllm", "torch", "device"}
    assert tiny.versions["vllm"].split(".")[0].isdigit()


def test_the_stage_runs_on_vllm_with_nano_s_captioner(tmp_path: Path) -> None:
    flags = ["--recipe=nano", f"--root={tmp_path}", "--caption.count=64", "--caption.per_unit=32"]
    flags += ["--caption.engine=vllm", "--caption.vllm.max_model_len=512", "--caption.vllm.enforce_eager=true"]
    config = resolve(GenerateConfig, RECIPES, [*flags, "--tracking.enabled=false"])
    caption(config)
    storage = Storage(config.root)
    found = markers(storage, "captions")
    assert [one.samples for one in found.values()] == [32, 32]
    assert "vllm" in found["000000"].config["versions"]
    samples = [one.fields for marker in found.values() for one in read_samples(storage, marker, fields=("txt", "json"))]
    named = [names(one["txt"].decode(), json.loads(one["json"])["concept"]) for one in samples]
    assert sum(named) >= 60


def test_a_folder_that_holds_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(ConfigError, match=r"caption\.model: .*model cannot be loaded as a model of vLLM"):
        engine(tmp_path / "model")


def test_a_real_model_follows_the_prompt() -> None:
    pools = prompt.load_pools(Path("generator/examples"))
    wanted = ["lighthouse", "owl", "bicycle", "teapot", "canoe", "cactus", "violin", "fox"] * 2
    prompts = [
        prompt.prompt("concept", prompt.context(pools["object"], 0, "object", number), one)
        for number, one in enumerate(wanted)
    ]
    model = engine(gemma(), precision="bf16", temperature=0.7)
    captions = [prompt.completion(text) for text in model.complete(prompts, list(range(len(prompts))))]
    good = [names(text, one) and 3 <= len(text.split()) <= 60 for text, one in zip(captions, wanted, strict=True)]
    assert sum(good) >= len(good) // 2, captions
