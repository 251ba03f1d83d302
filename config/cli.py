"""The command line of every stage: a recipe gives the whole tree, dotted flags change leaves of it.

    python -m generator.caption --recipe nano --root runs/nano --caption.count 400

A stage's module ends with

    if __name__ == "__main__":
        run(main, CaptionConfig, RECIPES)

`--help`, the names of the flags and every message come from the config's own fields.
"""

import errno
import inspect
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml

from config import lifeline, report, yamls
from config.errors import ConfigError, RetryableError, ReverieError
from config.section import Section
from config.tree import build, unknown
from config.usage import usage

C = TypeVar("C", bound=Section)
Recipes = Mapping[str, Callable[[], C]]


@dataclass(frozen=True)
class Command:
    """What was typed. `overrides` are dotted paths with their text, in order."""

    recipe: str | None = None
    config: str | None = None
    print_config: bool = False
    help: bool = False
    overrides: tuple[tuple[str, str], ...] = ()


def run(main: Callable[[C], None], config: type[C], recipes: Recipes[C], argv: Sequence[str] | None = None) -> None:
    """Make the config from the command line and give it to `main`; the whole of a stage's `__main__`.

    Raises SystemExit with the error's code for what a person can act on: a ReverieError, a full disk, Ctrl-C. Anything
    else that escapes `main` is a bug and keeps its traceback.
    """
    try:
        command = parse(sys.argv[1:] if argv is None else argv)
        if command.help:
            print(usage(_program(), config, recipes, _recipe(recipes, command.recipe) if command.recipe else None))
            return
        value = _resolve(config, recipes, command)
        if command.print_config:
            print(yamls.dump(value.model_dump(mode="json")), end="")
            return
        lifeline.watch(os.environ)
        report.serve(os.environ)
        main(value)
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except ReverieError as error:
        _leave(str(error), error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _leave(f"the disk is full: {error}; free some space and give the same command again", RetryableError.exit_code)


def resolve(config: type[C], recipes: Recipes[C], argv: Sequence[str] = ()) -> C:
    """The config that a command line means, without running anything: for components, the controller and tests.

    Raises ConfigError, with one line per wrong flag or field.
    """
    return _resolve(config, recipes, parse(argv))


def parse(argv: Sequence[str]) -> Command:
    """Split a command line into the base, the switches and the overrides; `--key value` and `--key=value` are one."""
    command = Command()
    rest = list(argv)
    while rest:
        flag, equals, text = rest.pop(0).partition("=")
        if flag in ("--help", "-h"):
            command = replace(command, help=True)
        elif flag == "--print-config":
            command = replace(command, print_config=True)
        elif not flag.startswith("--") or flag == "--":
            raise ConfigError(f"{flag}: expected --section.field VALUE")
        else:
            command = _with(command, flag[2:], text if equals else _value(flag, rest))
    return command


def _with(command: Command, key: str, text: str) -> Command:
    if key == "recipe":
        return replace(command, recipe=text)
    if key == "config":
        return replace(command, config=text)
    return replace(command, overrides=(*command.overrides, (key, text)))


def _value(flag: str, rest: list[str]) -> str:
    if not rest or rest[0].startswith("--"):
        raise ConfigError(f"{flag}: needs a value, as in {flag} VALUE or {flag}=VALUE")
    return rest.pop(0)


def _resolve(config: type[C], recipes: Recipes[C], command: Command) -> C:
    reserved = {"recipe", "config", "help"} & set(config.model_fields)
    assert not reserved, f"{config.__name__} has fields that flags hide: {reserved}"
    if (command.recipe is None) == (command.config is None):
        raise ConfigError(f"give --recipe NAME or --config FILE, one of them; recipes: {', '.join(recipes)}")
    if command.config is not None:
        return build(config, _file(command.config), command.overrides, where=command.config)
    assert command.recipe is not None
    return build(config, _recipe(recipes, command.recipe).model_dump(mode="json"), command.overrides)


def _recipe(recipes: Recipes[C], name: str) -> C:
    if name not in recipes:
        raise ConfigError(f"--recipe: {unknown('recipe', name, recipes)}")
    return recipes[name]()


def _file(name: str) -> dict[str, Any]:
    try:
        tree = yamls.load(sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {name}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"--config {name}: not YAML: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"--config {name}: expected keys and values, got {json.dumps(tree)[:80]}")
    return tree


def _program() -> str:
    module = inspect.getmodule(sys.modules["__main__"])
    spec = getattr(module, "__spec__", None)
    return f"python -m {spec.name.removesuffix('.__main__')}" if spec else Path(sys.argv[0]).name


def _leave(message: str, code: int) -> None:
    for line in message.splitlines() or [""]:
        print(f"error: {line}", file=sys.stderr)
    sys.exit(code)
