"""YAML reads as JSON does, and what is written reads back as it was."""

from typing import Any

import pytest
import yaml

from config import yamls


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2", -2),
        (".5", 0.5),
        (".inf", float("inf")),
        ("010", "010"),
        ("no", "no"),
        ("1:30", "1:30"),
        ("2026-01-02", "2026-01-02"),
        ("true", True),
        ("~", None),
        ("[1, 2]", [1, 2]),
        ('{"a": null}', {"a": None}),
    ],
)
def test_load(text: str, value: Any) -> None:
    loaded = yamls.load(text)
    assert (loaded, type(loaded)) == (value, type(value))


@pytest.mark.parametrize("value", ["1e-3", "no", "null", "", "1:30", "2026-01-02", "a: b # c", 1e-05, 10, None, True])
def test_dump_reads_back_here_and_in_any_yaml_1_1_reader(value: Any) -> None:
    text = yamls.dump({"key": value})
    assert yamls.load(text) == {"key": value}
    assert yaml.safe_load(text) == {"key": value}


def test_a_key_written_twice_is_an_error_with_its_line() -> None:
    with pytest.raises(yaml.YAMLError, match=r"the key a is written twice(.|\n)*line 2"):
        yamls.load("a: 1\na: 2\n")


def test_a_key_must_be_a_word() -> None:
    with pytest.raises(yaml.YAMLError, match="a key must be a word"):
        yamls.load("[1, 2]: 3")
