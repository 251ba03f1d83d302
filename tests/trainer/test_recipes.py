"""Recipes carry the paper's numbers; a wrong config is refused with the field's name."""

import pytest
from pydantic import ValidationError

from config import ConfigError
from config.cli import resolve
from trainer.config import BatchConfig, CLIPConfig, ModelConfig, PretrainConfig, ScheduleConfig, TokenizerConfig
from trainer.objectives import OBJECTIVES
from trainer.recipes import EVALUATIONS, RECIPES
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


def test_the_others_carry_their_papers_numbers():
    clip, siglip, superclass = (RECIPES[f"{name}_vit_b16"]() for name in ("clip", "siglip", "superclass"))
    assert (clip.batch.captions, clip.schedule.lr, clip.schedule.warmup_steps) == (32768, 5e-4, 2000)
    assert (clip.optimizer.betas, clip.optimizer.epsilon, clip.schedule.weight_decay_end) == ((0.9, 0.98), 1e-6, 0.2)
    assert clip.schedule.steps * clip.batch.captions == 32 * 400_000_000
    assert clip.objective.scale_start == pytest.approx(1 / 0.07)
    assert (siglip.objective.scale_start, siglip.objective.bias_start) == (10.0, -10.0)
    assert superclass.schedule.steps * superclass.batch.captions == 512_000_000
    declip = RECIPES["declip_vit_b32"]()
    assert (declip.batch.captions, declip.schedule.lr, declip.schedule.warmup_steps) == (4096, 1e-3, 2500)
    assert (declip.objective.queue, declip.objective.siamese_hidden, declip.model.patch_size) == (65536, 1024, 32)
    stablerep = RECIPES["stablerep_vit_b16"]()
    images = stablerep.batch.captions * stablerep.batch.images_per_caption
    assert (images, stablerep.objective.temperature) == (8256, 0.1)
    assert stablerep.schedule.lr == pytest.approx(2e-4 * images / 256 / 2)


def test_other_sizes_differ_as_their_papers_say():
    sizes = {"s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16)}
    for name, make in RECIPES.items():
        if "vit_" in name:
            size, model = name.rpartition("vit_")[2], make().model
            assert (model.width, model.depth, model.heads) == sizes[size[0]], name
            assert model.patch_size == int(size[1:]), name
    large, compared = RECIPES["clip_vit_l14"](), RECIPES["clip_vit_l16"]()
    assert (large.batch.captions, large.schedule.lr, large.objective.embedding) == (32768, 4e-4, 768)
    assert compared.schedule.steps * compared.batch.captions == 512_000_000
    longest = RECIPES["superclass_vit_l14"]()
    assert longest.schedule.steps * longest.batch.captions == pytest.approx(12.8e9, rel=1e-5)
    assert (longest.optimizer.betas, longest.schedule.lr, longest.schedule.warmup_steps) == ((0.9, 0.95), 1e-3, 10_000)
    assert (longest.batch.augment.hue, longest.batch.augment.gray, longest.batch.augment.blur) == (0.08, 0.2, 0.0)


def test_clips_resnets_are_the_papers_tables_18_and_19():
    """Learning rate, common space, text tower, side of the images; 32 epochs of 400M pairs. Their sizes are compared
    with the published models' in models/test_encoder.py."""
    expected = {
        "rn50": (5e-4, 1024, 512, 8, 224),
        "rn101": (5e-4, 512, 512, 8, 224),
        "rn50x4": (5e-4, 640, 640, 10, 288),
        "rn50x16": (4e-4, 768, 768, 12, 384),
        "rn50x64": (3.6e-4, 1024, 1024, 16, 448),
    }
    for name, numbers in expected.items():
        config = RECIPES[f"clip_{name}"]()
        text = config.objective.text
        found = config.schedule.lr, config.objective.embedding, text.width, text.heads, config.model.image_size
        assert found == numbers, name
        assert (config.optimizer.betas, config.optimizer.epsilon) == ((0.9, 0.999), 1e-8), name
        assert (config.schedule.warmup_steps, config.schedule.weight_decay_end) == (2000, 0.2), name
        assert config.schedule.steps * config.batch.captions == 32 * 400_000_000, name
    declip, of_vit, superclass = (RECIPES[name]() for name in ("declip_rn50", "declip_vit_b32", "superclass_rn50"))
    assert (declip.objective.embedding, declip.objective.freeze_stem) == (1024, False)
    assert (declip.batch, declip.schedule, declip.optimizer) == (of_vit.batch, of_vit.schedule, of_vit.optimizer)
    assert superclass.schedule.steps * superclass.batch.captions == 1_280_000_000


def test_every_pretraining_recipe_has_an_evaluation_of_its_run():
    assert {name: make().run for name, make in EVALUATIONS.items()} == {
        name: make().run for name, make in RECIPES.items()
    }


def test_small_recipes_see_as_many_views_in_a_step():
    """128, so that what they learn in a step can be compared."""
    for name, make in RECIPES.items():
        if name.endswith("nano"):
            batch = make().batch
            assert batch.captions * batch.images_per_caption * batch.global_crops == 128, name


def test_small_recipes_differ_in_objective_and_batch_alone():
    """What they learn is compared: encoder, optimiser, schedule, colours and crops are the same."""
    compared = [make() for name, make in RECIPES.items() if name.endswith(("_nano", "nano_compared"))]
    assert len({type(config.objective) for config in compared}) == len(OBJECTIVES)
    own = {"run", "objective", "batch"}
    assert len({config.model_dump_json(exclude=own) for config in compared}) == 1
    assert len({(config.batch.augment, config.batch.global_scale) for config in compared}) == 1
    assert {getattr(config.objective, "head_norm", "batch") for config in compared} == {"batch"}


def test_another_objective_takes_its_own_defaults():
    words = ["--objective.tokenizer.kind", "words"]
    config = resolve(PretrainConfig, RECIPES, ["--recipe", "nano", "--objective.kind", "clip", *words])
    assert config.objective == CLIPConfig(tokenizer=TokenizerConfig(kind="words"))


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
    with pytest.raises(
        ConfigError, match=r"no recipe vit_b61; did you mean vit_b16.* known: nano, nano_long, nano_compared, vit_b16"
    ):
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
