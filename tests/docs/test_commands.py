"""Documentation whose commands no longer work is wrong: every block is run, or at least checked against the program."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

import generator.recipes
import nano.renders
import trainer.recipes
from config import Section
from config.cli import resolve
from generator.config import GenerateConfig
from nano.quickstart import parse
from nano.renders import RendersConfig
from tests.components.launching import appdef
from tests.docs.commands import ALL, ROOT, Block, pages
from trainer.config import EvaluateConfig, PretrainConfig

STAGES: Final[dict[str, tuple[type[Section], Mapping[str, Callable[[], Section]]]]] = {
    "generator.caption": (GenerateConfig, generator.recipes.RECIPES),
    "generator.image": (GenerateConfig, generator.recipes.RECIPES),
    "trainer.pretrain": (PretrainConfig, trainer.recipes.RECIPES),
    "trainer.evaluate": (EvaluateConfig, trainer.recipes.EVALUATIONS),
    "nano.renders": (RendersConfig, nano.renders.RECIPES),
}
MAKE = re.compile(r"^([a-z-]+):", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def which(how: str) -> list[Block]:
    return [block for block in ALL if block.how == how]


@pytest.mark.parametrize("block", ALL, ids=str)
def test_every_command_is_one_that_the_program_accepts(block: Block) -> None:
    if block.language == "python":
        compile(block.code, str(block), "exec")
        return
    for command in block.commands():
        check(shlex.split(re.sub(r" [>|].*", "", command)))


def check(words: list[str]) -> None:
    """A command means something, as far as can be told without running it."""
    program, *arguments = words
    if program == "make":
        targets = {word for word in arguments if not re.match(r"[A-Z_]+=", word)}  # and variables
        assert targets <= set(MAKE.findall((ROOT / "Makefile").read_text())), arguments
    elif program == "torchx" and arguments[0] == "run":
        component, *flags = component_of(arguments[1:])
        if "--help" not in flags:
            appdef(component, *flags)
    elif program == "python" and arguments[0] == "-m":
        accept(arguments[1], arguments[2:])
    elif program.startswith((".", "/")) and not program.startswith(".venv"):
        assert (ROOT / program).exists(), program


def component_of(words: list[str]) -> list[str]:
    """The words of `torchx run` without its own: --dryrun, a scheduler and its options."""
    own = {"--dryrun": 1, "-s": 2, "-cfg": 2}
    while words[0] in own:
        words = words[own[words[0]] :]
    return [word for word in words if word != "--dryrun"]


def accept(module: str, arguments: list[str]) -> None:
    """The flags of `python -m module` are known."""
    if module == "nano.quickstart":
        appdef("components/pipeline.py", *parse(arguments).component())
    elif module in STAGES and "--help" not in arguments and "--config" not in arguments:
        flags = [word for word in arguments if word != "--print-config"]
        config, recipes = STAGES[module]
        resolve(config, recipes, flags)
    else:
        assert find_spec(module) is not None, module


@pytest.mark.parametrize("block", which("run by"), ids=str)
def test_a_block_that_a_test_runs_stands_in_that_test(block: Block) -> None:
    text = (ROOT / block.what).read_text()
    assert block.page in text
    for command in block.commands() if block.language == "bash" else []:
        assert command in text, f"{block.what} does not run: {command}"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", which(""), ids=str)
def test_a_block_runs(block: Block) -> None:
    program = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [sys.executable, "-c"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run([*program, block.code], cwd=ROOT, env={**os.environ, "PATH": path}, timeout=590)
    assert done.returncode == 0


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = [link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()]
    assert not broken
