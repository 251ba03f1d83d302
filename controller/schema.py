"""Pydantic models as structural schemas: the part of OpenAPI that the API server takes in a CRD.

It has no references, no unions and no tuples, and everything has a bound, because the cost of a CEL rule is estimated
from the largest object that the schema admits.

`whole` is for the resource's own models and keeps their defaults, which so become visible in every object; those of a
status, which says only what there is to say, are left out. `partial` is
for what differs from a recipe in a config section: nothing is required and nothing has a default, because a key that is
not given is the recipe's.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from pydantic import BaseModel

from config import Section
from controller.names import camel

Schema = dict[str, Any]

LONGEST_TEXT: Final = 1024  # characters
LONGEST_LIST: Final = 64  # items, and keys of a map
_KEPT: Final = (
    "type", "description", "enum", "pattern", "format", "nullable", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems", "maxProperties", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
)  # fmt: skip


def whole(model: type[BaseModel], *, defaults: bool = True) -> Schema:
    """The schema of a model, keys as its aliases say, with its defaults or without."""
    tree = model.model_json_schema(by_alias=True)
    return _Structural(tree.get("$defs", {}), defaults=defaults, name_of=str).of(tree)


def partial(section: type[Section], without: Collection[str] = ()) -> Schema:
    """The schema of what may differ from a recipe in a config section, except the keys in `without`."""
    tree = section.model_json_schema()
    tree["properties"] = {name: one for name, one in tree["properties"].items() if name not in without}
    return _Structural(tree.get("$defs", {}), defaults=False, name_of=camel).of(tree, required=False)


class _Structural:
    """One translation. `defaults`: whether they are kept. `name_of` gives a key's name in the schema."""

    def __init__(self, references: Mapping[str, Schema], *, defaults: bool, name_of: Callable[[str], str]) -> None:
        self._references = references
        self._defaults = defaults
        self._name_of = name_of

    def of(self, tree: Schema, *, required: bool = True) -> Schema:
        tree = self._resolved(tree)
        made: Schema = {key: tree[key] for key in _KEPT if key in tree}
        made |= {key: value for key, value in tree.items() if key.startswith("x-kubernetes-")}
        if "description" in made:
            made["description"] = " ".join(made["description"].split())
        self._bounds(made)
        match made.get("type"):
            case "object":
                self._object(tree, made, required=required)
            case "array":
                items = tree.get("items") or _same(tree["prefixItems"])
                made["items"] = self.of(items)
                made.setdefault("maxItems", LONGEST_LIST)
            case "string" if "enum" not in made and "format" not in made:
                made.setdefault("maxLength", LONGEST_TEXT)
            case "integer":
                made.setdefault("format", "int64")
        if self._defaults and tree.get("default") is not None:
            made["default"] = {} if "properties" in made else tree["default"]
        return made

    def _resolved(self, tree: Schema) -> Schema:
        """Without references, unions and constants. Keys beside a reference (its description) win."""
        if "$ref" in tree:
            below = self._references[tree["$ref"].rpartition("/")[2]]
            return self._resolved(below | {key: value for key, value in tree.items() if key != "$ref"})
        if "const" in tree:
            rest = {key: value for key, value in tree.items() if key != "const"}
            return {**rest, "type": "string", "enum": [tree["const"]]}
        for union in ("oneOf", "anyOf"):
            if union in tree:
                members = [self._resolved(one) for one in tree[union]]
                filled = [one for one in members if one.get("type") != "null"]
                nullable = {"nullable": True} if len(filled) < len(members) else {}
                rest = {key: value for key, value in tree.items() if key not in (union, "discriminator")}
                return self._union(filled) | nullable | rest
        return tree

    def _union(self, members: list[Schema]) -> Schema:
        """One schema for any of several: sections that a key tells apart, or words beside the same type."""
        if len(members) == 1:
            return members[0]
        if all(one["type"] == "string" for one in members):
            words = [word for one in members for word in one.get("enum", ())]
            return {"type": "string"} | ({"enum": words} if all("enum" in one for one in members) else {})
        assert all("properties" in one for one in members), f"no structural schema of {members}"
        properties: Schema = {}
        for one in members:
            for name, value in one["properties"].items():
                value = self._resolved(value)
                properties[name] = value if name not in properties else self._either(properties[name], value)
        return {"type": "object", "properties": properties}

    def _either(self, one: Schema, other: Schema) -> Schema:
        """A key that two members of a union have: what both say, and the words of either."""
        if "enum" in one and "enum" in other:
            return {**one, "enum": list(dict.fromkeys([*one["enum"], *other["enum"]]))}
        return {key: value for key, value in one.items() if other.get(key) == value or key == "description"}

    def _object(self, tree: Schema, made: Schema, *, required: bool) -> None:
        if "properties" in tree:
            name_of = self._name_of
            made["properties"] = {
                name_of(name): self.of(one, required=required) for name, one in tree["properties"].items()
            }
            needed = [name_of(name) for name in tree.get("required", ())]
            if required and needed:
                made["required"] = needed
        elif isinstance(tree.get("additionalProperties"), dict):
            made["additionalProperties"] = self.of(tree["additionalProperties"])
            made.setdefault("maxProperties", LONGEST_LIST)

    @staticmethod
    def _bounds(made: Schema) -> None:
        """OpenAPI 3.0 says of a bound whether it is itself excluded; integers need no such words."""
        for exclusive, bound, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
            value = made.get(exclusive)
            if value is None or isinstance(value, bool):
                continue
            if made["type"] == "integer":
                del made[exclusive]
                made[bound] = value + step
            else:
                made[bound], made[exclusive] = value, True


def _same(items: list[Schema]) -> Schema:
    """The one schema of all items of a tuple."""
    assert all(one == items[0] for one in items), f"a tuple of different types has no structural schema: {items}"
    return items[0]
