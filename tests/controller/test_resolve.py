"""A spec with its recipes as whole configs."""

import json

import pytest

from config import ConfigError
from config.cli import resolve as resolve_flags
from controller.resolve import flags, load, resolve
from generator.config import GenerateConfig
from generator.recipes import RECIPES as GENERATE
from tests.controller.objects import parsed
from trainer.config import PretrainConfig
from trainer.recipes import RECIPES as PRETRAIN


def test_without_changes_it_is_the_recipes_with_root_and_tracking() -> None:
    made = resolve(parsed())
    base = GENERATE["nano"]()
    tracking = base.tracking.model_copy(update={"uri": "http://mlflow:5000"})
    assert made.generate == base.model_copy(update={"root": "s3://bucket/nano", "tracking": tracking})
    assert made.evaluate.run == made.pretrain.run
    assert made.evaluate.data == "s3://bucket/nano/labelled"
    assert list(made.images) == ["caption", "image", "render", "pretrain", "evaluate"]


def test_changes_go_into_the_sections_that_they_name() -> None:
    spec = parsed(
        {
            "caption.config": {"perUnit": 16, "vllm": {"maxModelLen": None}},
            "pretrain.config": {"run": "mine", "batch": {"augment": {"blurSigma": [0.5, 1.0]}}},
            "concept.lists": [{"file": "mine.txt", "templates": {"concept": 1, "background": 0, "relation": 0}}],
            "lease.ttl": 30,
        }
    )
    made = resolve(spec)
    assert made.generate.caption.per_unit == 16
    assert made.generate.concept.lists[0].file == "mine.txt"
    assert made.generate.lease.ttl == 30.0
    assert made.pretrain.batch.augment.blur_sigma == (0.5, 1.0)
    assert made.evaluate.run == "mine"


def test_what_is_kept_in_the_status_is_read_back_as_the_same() -> None:
    made = resolve(parsed({"image.image": "generator@sha256:1"}))
    assert load(json.loads(json.dumps(made.model_dump(mode="json")))) == made
    assert made.images["image"] == "generator@sha256:1"


def test_flags_leave_nothing_to_the_recipe() -> None:
    """Those of one recipe, put after the name of any other, give the first one's config."""
    made = resolve(parsed())
    for recipe in GENERATE:
        argv = ("--recipe", recipe, "--root", made.generate.root, *flags(made.generate))
        assert resolve_flags(GenerateConfig, GENERATE, argv) == made.generate
    for recipe in PRETRAIN:
        argv = ("--recipe", recipe, "--root", made.pretrain.root, *flags(made.pretrain))
        assert resolve_flags(PretrainConfig, PRETRAIN, argv) == made.pretrain


def test_an_unknown_recipe_is_answered_with_the_known() -> None:
    spec = parsed({"recipes.pretrain": "vit_b61"})
    with pytest.raises(ConfigError, match=r"recipes.pretrain: no recipe vit_b61; did you mean vit_b16\?"):
        resolve(spec)


def test_a_config_that_a_stage_would_refuse_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigError, match="save_size must be at most size"):
        resolve(parsed({"image.config.saveSize": 128}))
