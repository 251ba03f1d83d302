"""Recipes: functions that return a whole config, by name. An unknown name is answered with these."""

from collections.abc import Callable, Mapping

from trainer.config import EvaluateConfig, PretrainConfig
from trainer.recipes import evaluation, synclr

RECIPES: Mapping[str, Callable[[], PretrainConfig]] = {
    "nano": synclr.nano,
    "nano_long": synclr.nano_long,
    "vit_b16": synclr.vit_b16,
    "vit_l14": synclr.vit_l14,
}

EVALUATIONS: Mapping[str, Callable[[], EvaluateConfig]] = {
    "nano": evaluation.nano,
    "nano_long": evaluation.nano_long,
    "vit_b16": evaluation.vit_b16,
    "vit_l14": evaluation.vit_l14,
}
