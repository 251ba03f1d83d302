"""A config as a plain tree: take a base, put dotted overrides into it, validate the whole, say what is wrong.

    base (recipe or file)  ->  JSON tree  ->  overrides  ->  config section

Values go through JSON and pydantic's strict JSON mode, where a list may fill a tuple and nothing else is converted.
"""

import difflib
import json
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from config import yamls
from config.errors import ConfigError
from config.section import Section

C = TypeVar("C", bound=Section)


def build(config: type[C], tree: Mapping[str, Any], overrides: Sequence[tuple[str, str]] = (), *, where: str = "") -> C:
    """The config made of `tree` with `overrides` (dotted path, text) put in, in order; the last one of a path wins.

    `where` names the tree's file for messages. Raises ConfigError with one line per wrong field.
    """
    like = _valid(config, tree)
    grown = like.model_dump(mode="json") if like else json.loads(json.dumps(tree))
    for path, text in overrides:
        _put(grown, config, like, path, text)
        # An override may have replaced a section by one of another type; what follows is checked against that one.
        like = _valid(config, grown) or like
    try:
        return config.model_validate_json(json.dumps(grown))
    except ValidationError as error:
        given = [path for path, _ in overrides]
        raise ConfigError(
            "\n".join(_explain(config, problem, grown, given, where) for problem in _errors(error))
        ) from None


def section_of(field: FieldInfo, value: Any) -> type[Section] | None:
    """The section that fills a field: the one that is there, else the only one that its annotation allows."""
    if isinstance(value, Section):
        return type(value)
    sections = [kind for kind in members(field.annotation) if isinstance(kind, type) and issubclass(kind, Section)]
    return sections[0] if len(sections) == 1 else None


def members(annotation: Any) -> Iterator[Any]:
    """The types of a union (through Annotated), or the type itself."""
    if hasattr(annotation, "__metadata__"):
        yield from members(annotation.__origin__)
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from members(member)
    else:
        yield annotation


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """`no recipe nan; did you mean nano? known: nano, vit_b16`."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" did you mean {close[0]}?" if close else ""
    return f"no {what} {name};{hint} known: {', '.join(known) or 'none'}"


def read(text: str, field: FieldInfo | None = None) -> Any:
    """A command-line value: what JSON or YAML reads in it, or the text itself where the field takes only that.

    So `--caption.count 400` is a number, `--name 400` is text where name is a str, `--every null` is None.
    """
    value = _scalar(text)
    if field is None or _accepts(field.annotation, value) or not _accepts(field.annotation, text):
        return value
    return text


def _scalar(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        value = yamls.load(text)
    except yaml.YAMLError:
        return text
    # YAML would fold spaces, drop what follows a '#' and turn nothing into null: text stays as it was typed.
    return text if isinstance(value, str) or (value is None and text.lower() not in ("null", "~")) else value


def _accepts(annotation: Any, value: Any) -> bool:
    try:
        TypeAdapter(annotation).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError):
        return False
    return True


def _valid(config: type[C], tree: Mapping[str, Any]) -> C | None:
    try:
        return config.model_validate_json(json.dumps(tree))
    except ValidationError:
        return None


def _put(tree: dict[str, Any], config: type[Section], like: Section | None, path: str, text: str) -> None:
    field = _field(config, like, path, flag=f"--{path}: ")
    *folders, leaf = path.split(".")
    for depth, name in enumerate(folders):
        below = tree.get(name)
        if below is None:
            below = tree[name] = {}
        if not isinstance(below, dict):
            at = ".".join(folders[: depth + 1])
            raise ConfigError(
                f"--{path}: {at} is {json.dumps(below)}, without keys; give it whole, as JSON: --{at} '...'"
            )
        tree = below
    value = read(text, field)
    if _chooses(config, like, folders, leaf) and value != tree.get(leaf):
        tree.clear()  # another kind of section: the keys of the old one mean nothing in it
    tree[leaf] = value


def _chooses(config: type[Section], like: Section | None, folders: Sequence[str], leaf: str) -> bool:
    """Whether `leaf` is what tells the members of a union of sections apart, as name in `--objective.name clip`."""
    section = _field(config, like, ".".join(folders)) if folders else None
    return section is not None and section.discriminator == leaf


def _field(config: type[Section], like: Section | None, path: str, flag: str = "") -> FieldInfo | None:
    """The field at a dotted path, None inside a dict, where any key may stand; ConfigError for a key of no field."""
    section: type[Section] | None = config
    field = None
    names = path.split(".")
    for depth, name in enumerate(names):
        if section is None:
            return None
        if name not in section.model_fields:
            siblings = [".".join([*names[:depth], key]) for key in section.model_fields]
            raise ConfigError(flag + unknown("key", ".".join(names[: depth + 1]), siblings))
        field = section.model_fields[name]
        value = getattr(like, name, None)
        section, like = section_of(field, value), value if isinstance(value, Section) else None
    return field


def _errors(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False)


def _explain(config: type[Section], problem: ErrorDetails, tree: Any, given: Sequence[str], where: str) -> str:
    """`caption.count: Input should be greater than 0, got -1 (--caption.count)`."""
    path = _dotted(problem, tree)
    source = next((f"--{flag}" for flag in given if path == flag or path.startswith(f"{flag}.")), where)
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if problem["type"] == "extra_forbidden":
        message = _known(config, path)
    elif problem["type"] == "missing":
        message = "required, but not given"
    elif problem["type"] == "union_tag_invalid":
        kinds = problem["ctx"]["expected_tags"].replace("'", "").split(", ")
        message = unknown(path.split(".")[-1], problem["ctx"]["tag"], kinds)
    elif not isinstance(problem["input"], dict) and ", got " not in message:
        message += f", got {json.dumps(problem['input'], default=str)}"
    return f"{path}: {message}".removeprefix(": ") + (f" ({source})" if source else "")


def _known(config: type[Section], path: str) -> str:
    try:
        _field(config, None, path)
    except ConfigError as error:
        return str(error)
    return "no such key"


def _dotted(problem: ErrorDetails, tree: Any) -> str:
    """pydantic's location without the names of union members, which are in no file and on no command line."""
    path: list[str] = []
    for part in problem["loc"]:
        inside = part in tree if isinstance(tree, dict) else isinstance(tree, list) and part in range(len(tree))
        if inside:
            tree = tree[part]
        if inside or (problem["type"] == "missing" and part == problem["loc"][-1]):
            path.append(str(part))
    if problem["type"] == "union_tag_invalid":  # said of the section; wrong is the field that names its kind
        path.append(problem["ctx"]["discriminator"].strip("'"))
    return ".".join(path)
