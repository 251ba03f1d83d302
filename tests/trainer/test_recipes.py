"""Recipes carry the paper's numbers; a wrong config is refused with the field's name."""

import pytest
from pydantic import ValidationError

from config import ConfigError
from config.cli import resolve
from trainer.config import BatchConfig, ModelConfig, PretrainConfig, ScheduleConfig
from trainer.recipes import RECIPES
from trainer.recipes.synclr import vit_b16, vit_l14


def test_vit_b16_is_the_papers_table_12():
    config = vit_b16()
    assert (config.objective.temperature, config.objective.prototypes) == (0.08, 65536)
    assert (config.objective.contrast_weight, config.objective.ibot_weight) == (1.0, 1.0)
    assert config.optimizer.betas == (0.9, 0.999)
    assert (config.schedule.weight_decay_start, config.schedule.weight_decay_end) == (0.04, 0.2)
    assert (config.schedule.lr, config.schedule.warmup_steps, config.schedule.steps) == (2e-3, 80_000, 500_000)
    assert (config.batch.captions, config.batch.images_per_caption, config.batch.local_crops) == (8192, 4, 4)
    assert (config.batch.masked_images, config.batch.masked_tokens) == (0.5, 0.5)
    assert (config.batch.global_scale, config.batch.local_scale) == ((0.32, 1.0), (0.08, 0.32))
    assert (config.objective.ema_start, config.objective.ema_end) == (0.994, 1.0)
    assert (config.objective.teacher_temperature_start, config.objective.teacher_temperature_end) == (0.04, 0.07)
    assert config.objective.teacher_temperature_steps == 4000
    assert (config.model.patch_size, config.model.width, config.model.depth) == (16, 768, 12)
    assert config.model.drop_path == 0.1


def test_vit_l14_differs_in_what_the_paper_says():
    config = vit_l14()
    assert (config.model.patch_size, config.model.width, config.model.depth, config.model.heads) == (14, 1024, 24, 16)
    assert (config.schedule.lr, config.model.drop_path) == (1.5e-3, 0.4)
    assert config.batch.local_size % config.model.patch_size == 0
    assert config.objective == vit_b16().objective


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_valid_and_survives_its_own_json(name: str):
    config = RECIPES[name]()
    assert PretrainConfig.model_validate_json(config.model_dump_json()) == config


def test_an_unknown_recipe_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"no recipe vit_b61; did you mean vit_b16.* known: nano, nano_long, vit_b16"):
        resolve(PretrainConfig, RECIPES, ["--recipe", "vit_b61"])


def test_an_unknown_field_is_answered():
    with pytest.raises(ConfigError, match="captions"):
        resolve(PretrainConfig, RECIPES, ["--recipe", "nano", "--batch.caption", "8"])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: ModelConfig(image_size=64, patch_size=14),
            r"image_size must be a multiple of patch_size \(14\), got 64",
        ),
        (lambda: ModelConfig(width=100, heads=12), r"width must be a multiple of heads \(12\), got 100"),
        (lambda: ScheduleConfig(steps=10, warmup_steps=20), r"warmup_steps must be at most steps \(10\), got 20"),
        (lambda: BatchConfig(global_scale=(0.9, 0.3)), r"global_scale must be two numbers in order"),
        (
            lambda: PretrainConfig(batch=BatchConfig(local_size=90)),
            r"batch\.local_size must be a multiple of model\.patch_size \(16\), got 90",
        ),
    ],
)
def test_a_wrong_config_names_field_and_value(make, said: str):
    with pytest.raises(ValidationError, match=said):
        make()
