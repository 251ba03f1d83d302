"""Recipes: functions that return a whole GenerateConfig."""

from collections.abc import Callable
from typing import Final

from generator.config import GenerateConfig
from generator.recipes.nano import nano, nano_long
from generator.recipes.synclr import synclr

RECIPES: Final[dict[str, Callable[[], GenerateConfig]]] = {"nano": nano, "nano_long": nano_long, "synclr": synclr}
