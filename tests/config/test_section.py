"""A section is frozen, strict and explained."""

import pytest
from pydantic import Field, ValidationError

from config import Section


class Batch(Section):
    size: int = Field(8, description="Images per step.", gt=0)
    scales: tuple[float, ...] = (0.5, 1.0)
    """Crop scales, as fractions of the area."""


class Run(Section):
    limit: float = Field(float("inf"), description="Seconds; infinity switches it off.")
    batch: Batch = Field(Batch(), description="The batch.")
    options: dict[str, int] = Field({}, description="Passed on.")


def test_cannot_change_once_made() -> None:
    batch = Batch()
    with pytest.raises(ValidationError, match="frozen"):
        batch.size = 9  # type: ignore[misc] # what is tested


def test_converts_nothing_in_silence() -> None:
    with pytest.raises(ValidationError, match="valid integer"):
        Batch(size="8")  # type: ignore[arg-type] # what is tested


def test_refuses_a_key_that_is_no_field() -> None:
    with pytest.raises(ValidationError, match="sise"):
        Batch(sise=8)  # type: ignore[call-arg] # what is tested


def test_refuses_a_field_without_a_description_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match=r"Bare: no description of depth, width"):

        class Bare(Section):
            size: int = Field(8, description="Explained.")
            depth: int = 2
            width: int = 3


def test_a_docstring_under_a_field_is_its_description() -> None:
    assert Batch.model_fields["scales"].description == "Crop scales, as fractions of the area."


def test_json_keeps_infinity_and_tuples() -> None:
    assert Run.model_validate_json(Run().model_dump_json()) == Run()


def test_flat_gives_the_leaves_by_dotted_path() -> None:
    assert Run(limit=1.0).flat() == {"limit": 1.0, "batch.size": 8, "batch.scales": [0.5, 1.0], "options": {}}
