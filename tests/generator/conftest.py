"""Tiny models, made once for all tests of this folder, and the config that runs both stages on them."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from config.cli import resolve
from generator.config import GenerateConfig
from generator.recipes import RECIPES
from tests.generator import models


@pytest.fixture(scope="session")
def models_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`captioner/` and `painter/` with random weights."""
    folder = tmp_path_factory.mktemp("models")
    models.save_captioner(folder / "captioner")
    if find_spec("diffusers"):  # not in vLLM's environment
        models.save_painter(folder / "painter")
    return folder


@pytest.fixture
def arguments(models_folder: Path, tmp_path: Path) -> Callable[..., list[str]]:
    """The command line of a small run under `tmp_path / "run"`; keyword arguments override (`__` for the dot)."""

    def make(**overrides: Any) -> list[str]:
        changes = {name.replace("__", "."): value for name, value in overrides.items()}
        return models.command(models_folder, tmp_path / "run", **changes)

    return make


@pytest.fixture
def small(arguments: Callable[..., list[str]]) -> Callable[..., GenerateConfig]:
    """The config of that command line."""
    return lambda **overrides: resolve(GenerateConfig, RECIPES, arguments(**overrides))
