"""`--help`, written from the sections' docstrings and the fields' descriptions: nothing in it is kept by hand."""

import inspect
import json
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic_core import PydanticUndefined

from config.section import Section
from config.tree import members, section_of

WIDTH = 100  # columns


def usage(
    program: str, config: type[Section], recipes: Mapping[str, Callable[[], Section]], value: Section | None
) -> str:
    """The whole help text. `value` is the chosen recipe's tree, whose values are shown; None shows the defaults."""
    parts = [
        f"usage: {program} (--recipe NAME | --config FILE) [--section.field VALUE ...]",
        _first_paragraph(config),
        "The base:\n"
        + _item("--recipe NAME", "one of the recipes below; add --help to see its values")
        + _item(
            "--config FILE", "a YAML file instead of a recipe, such as --print-config writes; - reads standard input"
        )
        + _item("--print-config", "print the whole config as YAML and stop"),
        "Recipes:\n" + "".join(_item(name, _first_paragraph(recipe)) for name, recipe in recipes.items()),
        "Values are JSON or YAML: --x 4, --x 1e-3, --x null, --x true, --x '[1, 2]'.",
        *_sections(config, value, ""),
    ]
    return "\n\n".join(part.rstrip() for part in parts if part)


def _sections(config: type[Section], value: Section | None, prefix: str) -> Iterator[str]:
    leaves, below = "", []
    for name, field in config.model_fields.items():
        path = f"{prefix}{name}"
        now = getattr(value, name) if value else field.get_default(call_default_factory=True, validated_data={})
        section = section_of(field, now)
        if section is None or now is None:
            leaves += _item(f"--{path} {type_name(field.annotation)}", f"{field.description} ({_now(now)})")
        else:
            heading = f"{path}: {_one_line(field.description or '')}"
            below.append((heading, section, now if isinstance(now, Section) else None, f"{path}."))
    if leaves:
        yield leaves
    for heading, section, now, path in below:
        first, *rest = [*_sections(section, now, path), ""]
        yield textwrap.fill(heading, WIDTH) + "\n" + first
        yield from rest


def type_name(annotation: Any) -> str:
    """A type as a person would write it: `int`, `str|null`, `cpu|gpu`, `[int, ...]`."""
    if hasattr(annotation, "__metadata__") or len(kinds := list(members(annotation))) > 1:
        return "|".join(type_name(kind) for kind in members(annotation))
    origin, arguments = get_origin(kinds[0]), get_args(kinds[0])
    if origin is Literal:
        return "|".join(str(argument) for argument in arguments)
    if origin in (tuple, list):
        return f"[{', '.join('...' if argument is ... else type_name(argument) for argument in arguments)}]"
    if origin is dict:
        return f"{{{': '.join(type_name(argument) for argument in arguments)}}}"
    plain = {NoneType: "null", Path: "path", Any: "value"}
    return str(plain.get(kinds[0], getattr(kinds[0], "__name__", "value")))


def _now(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    return json.dumps(value.model_dump(mode="json") if isinstance(value, Section) else value, default=str)


def _item(head: str, text: str) -> str:
    return (
        f"  {head}\n" + textwrap.fill(_one_line(text), WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6) + "\n"
    )


def _first_paragraph(thing: object) -> str:
    return _one_line((inspect.getdoc(thing) or "").partition("\n\n")[0])


def _one_line(text: str) -> str:
    return " ".join(text.split())
