"""`precision: auto` is what this machine computes in, and the images' settings say which that was."""

import torch

from generator.image import with_precision
from generator.models import native_precision
from generator.recipes.nano import nano


def test_auto_becomes_a_precision_that_the_settings_can_hold() -> None:
    resolved = with_precision(nano()).image.precision
    assert resolved == native_precision(torch.device("cpu"))
    assert resolved in ("fp32", "bf16")


def test_a_chosen_precision_stays() -> None:
    config = nano()
    chosen = config.model_copy(update={"image": config.image.model_copy(update={"precision": "fp16"})})
    assert with_precision(chosen) == chosen
