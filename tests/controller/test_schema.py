"""Sections as structural schemas."""

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from config import Section
from controller.resource import Part
from controller.schema import partial, whole


class Cat(Section):
    """One kind."""

    kind: Literal["cat"] = "cat"
    """Which."""
    lives: int = Field(9, gt=0)
    """How many."""


class Dog(Section):
    """Another kind."""

    kind: Literal["dog"] = "dog"
    """Which."""
    bark_volume: float = Field(1.0, gt=0, le=10)
    """How loud."""


class House(Section):
    """A section with everything that can stand in one."""

    street: str
    """Where."""
    door_number: int | None = Field(None, ge=1)
    """None: no number."""
    span: tuple[float, float] = (0.0, 1.0)
    """Two numbers."""
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] = Cat()
    """Who lives there."""
    precision: Literal["fp32", "bf16"] | Literal["auto"] = "auto"
    """How exact."""


class Street(Part):
    """A part of a resource."""

    houses_max: int = Field(3, lt=10)
    """How many."""
    name: str
    """Its name, over
    two lines."""


def test_a_part_keeps_its_defaults_and_says_its_keys_in_camel_case() -> None:
    assert whole(Street) == {
        "type": "object",
        "description": "A part of a resource.",
        "properties": {
            "housesMax": {"type": "integer", "format": "int64", "maximum": 9, "default": 3, "description": "How many."},
            "name": {"type": "string", "maxLength": 1024, "description": "Its name, over two lines."},
        },
        "required": ["name"],
    }


def test_what_differs_from_a_recipe_needs_nothing_and_defaults_to_nothing() -> None:
    schema = partial(House, without=("street",))
    assert "required" not in schema
    assert list(schema["properties"]) == ["doorNumber", "span", "pet", "precision"]
    assert "default" not in str(schema)


def test_none_a_tuple_and_a_union_of_words_have_a_structural_form() -> None:
    properties = partial(House)["properties"]
    assert properties["doorNumber"] == {
        "type": "integer", "format": "int64", "minimum": 1, "nullable": True, "description": "None: no number.",
    }  # fmt: skip
    assert properties["span"]["items"] == {"type": "number"}
    assert (properties["span"]["minItems"], properties["span"]["maxItems"]) == (2, 2)
    assert properties["precision"]["enum"] == ["fp32", "bf16", "auto"]


def test_a_union_of_sections_has_the_keys_of_all_and_the_words_of_each() -> None:
    pet = partial(House)["properties"]["pet"]
    assert pet["properties"]["kind"]["enum"] == ["cat", "dog"]
    assert pet["properties"]["lives"]["minimum"] == 1
    volume = pet["properties"]["barkVolume"]
    assert (volume["minimum"], volume["exclusiveMinimum"], volume["maximum"]) == (0, True, 10)


def test_what_has_no_structural_form_is_an_error_when_the_schema_is_made() -> None:
    class Mixed(Section):
        """A tuple of two types."""

        pair: tuple[int, str] = (1, "a")
        """Two things."""

    with pytest.raises(AssertionError, match="a tuple of different types"):
        partial(Mixed)


def bounds_missing(schema: dict[str, Any], path: str = "") -> list[str]:
    """Where a structural schema has no bound, so that CEL's cost would be estimated from the largest request."""
    kind = schema.get("type")
    missing = []
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return []
    if kind == "string" and not {"maxLength", "enum", "format"} & schema.keys():
        missing.append(path)
    if kind == "array" and "maxItems" not in schema:
        missing.append(path)
    for name, below in schema.get("properties", {}).items():
        missing += bounds_missing(below, f"{path}.{name}")
    return missing + (bounds_missing(schema["items"], f"{path}[]") if "items" in schema else [])


def test_everything_has_a_bound() -> None:
    assert bounds_missing(partial(House)) == []
