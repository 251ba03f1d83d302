"""One part of a config: frozen, strict, and nothing in it without an explanation."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Base of every config section.

    * frozen: a run's config cannot change while it runs;
    * strict: `"8"` is not `8`, and a key that is not a field is an error;
    * explained: a field without a description (`Field(description=...)`, or a docstring under it) is refused when the
      class is made. A description says what the field means, its unit, how to switch it off, and why this default.

    Write sequences as `tuple[T, ...]`: a list could be changed in place.

    Raises:
        TypeError: at class creation, naming the fields that lack a description.
        pydantic.ValidationError: at construction, naming every field that is wrong.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        validate_default=True,
        use_attribute_docstrings=True,
        # JSON has no infinity; without this one is written as null and read back as another value.
        ser_json_inf_nan="constants",
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        bare = [name for name, field in cls.model_fields.items() if not field.description]
        if bare:
            raise TypeError(f"{cls.__name__}: no description of {', '.join(bare)} (meaning, unit, off-switch, reason)")

    def flat(self) -> dict[str, Any]:
        """The leaves by dotted path, as JSON values: `{"caption.count": 400, ...}`. Lists stay whole."""
        return flatten(self.model_dump(mode="json"))


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` to `{"a.b": 1}`; an empty dict stays, as `{}`, so that nothing disappears."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        path = f"{prefix}{key}"
        leaves |= flatten(value, f"{path}.") if isinstance(value, dict) and value else {path: value}
    return leaves
