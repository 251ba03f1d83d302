"""What makes an image reproducible alone: noise of its own, and the same arithmetic in every slot of a batch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from config import ConfigError
from generator.config import ImageConfig
from generator.painter import Painter


def config(models_folder: Path, **changes: object) -> ImageConfig:
    given = {"size": 32, "save_size": 32, "steps": 2, "batch": 4, "precision": "fp32", **changes}
    return ImageConfig.model_validate({"model": str(models_folder / "painter"), **given})


@pytest.fixture(scope="module")
def painter(models_folder: Path) -> Painter:
    return Painter(config(models_folder))


def test_an_image_is_the_same_in_any_slot_and_company(painter: Painter) -> None:
    captions = ["a red star", "a fish", "a blue heart", "a drop"]
    texts = painter.encode(captions)
    together = painter.paint([texts[one] for one in captions], [1, 2, 3, 4])
    turned = painter.paint([texts[one] for one in reversed(captions)], [4, 3, 2, 1])
    alone = [painter.paint([painter.encode([one])[one]], [seed])[0] for seed, one in enumerate(captions, 1)]
    assert together.shape == (4, 32, 32, 3)
    np.testing.assert_array_equal(together, turned[::-1])
    np.testing.assert_array_equal(together, alone)


def test_seed_and_caption_both_decide(painter: Painter) -> None:
    texts = painter.encode(["a red star", "a fish"])
    star, again, other, fish = painter.paint([texts[c] for c in ("a red star",) * 3 + ("a fish",)], [1, 1, 2, 1])
    np.testing.assert_array_equal(star, again)
    assert (star != other).any()
    assert (star != fish).any()


def test_each_distinct_caption_is_encoded_once(painter: Painter) -> None:
    assert list(painter.encode(["a", "b", "a", "c", "b"])) == ["a", "b", "c"]


def test_a_caption_longer_than_the_text_encoder_reads_is_known(painter: Painter) -> None:
    assert not painter.is_cut("a star")
    assert painter.is_cut("a very long caption that goes on and on")


def test_what_the_last_bits_depend_on_is_named(painter: Painter) -> None:
    assert set(painter.versions) == {"torch", "diffusers", "device"}
    assert painter.versions["device"] == f"cpu, {torch.get_num_threads()} threads"


def test_guidance_one_needs_no_unconditional_pass(models_folder: Path) -> None:
    plain = Painter(config(models_folder, guidance=1.0))
    assert plain.paint([plain.encode(["a"])["a"]], [1]).shape == (1, 32, 32, 3)


def test_noise_on_the_way_belongs_to_the_image_too(models_folder: Path) -> None:
    noisy = Painter(config(models_folder, eta=1.0))
    texts = noisy.encode(["a", "b"])
    together = noisy.paint([texts["a"], texts["b"]], [1, 2])
    np.testing.assert_array_equal(together[1], noisy.paint([texts["b"]], [2])[0])


def test_a_size_that_no_model_can_paint_is_refused(models_folder: Path) -> None:
    with pytest.raises(ValueError, match="size must be a multiple of 8, got 36"):
        config(models_folder, size=36)


def test_a_folder_that_holds_no_pipeline_is_named(models_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"image\.model: .*captioner cannot be loaded as a StableDiffusionPipeline"):
        Painter(config(models_folder, model=str(models_folder / "captioner")))
