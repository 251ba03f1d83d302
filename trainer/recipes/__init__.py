"""Recipes: functions that return a whole `PretrainConfig`, by name. An unknown name is answered with these."""

from collections.abc import Callable, Mapping

from trainer.config import PretrainConfig
from trainer.recipes import synclr

RECIPES: Mapping[str, Callable[[], PretrainConfig]] = {
    "nano": synclr.nano,
    "nano_long": synclr.nano_long,
    "vit_b16": synclr.vit_b16,
    "vit_l14": synclr.vit_l14,
}
