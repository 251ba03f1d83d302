import pytest

from generator.check import faults, names
from generator.concepts import Request
from generator.config import CaptionConfig
from generator.prompt import Template

CONFIG = CaptionConfig(model="any", count=1, min_words=3, max_words=8)


def request(concept: str = "star", other: str | None = None) -> Request:
    template: Template = "concept" if other is None else "background"
    return Request(0, "0.0", template, "object", 0, concept, other)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("a small red star on sand", "star"),
        ("A Star falls", "star"),
        ("two stars", "star"),
        ("three foxes", "fox"),
        ("to the left of a fish", "left of"),
        ("a T-shirt on a line", "t shirt"),
        ("in the night  sky", "night sky"),
    ],
)
def test_a_phrase_is_named(text: str, phrase: str) -> None:
    assert names(text, phrase)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [("a starfish", "star"), ("a mustard", "star"), ("", "star"), ("a sky at night", "night sky"), ("a.b", "a b")],
)
def test_a_phrase_is_not_named(text: str, phrase: str) -> None:
    assert not names(text, phrase)


def test_a_good_caption_has_no_faults() -> None:
    assert faults("a small red star on sand", request("star", "sand"), CONFIG) == ()


def test_a_caption_must_name_its_concept_where_nothing_else_is_asked() -> None:
    assert faults("a small red star on sand", request("star"), CONFIG) == ()
    assert faults("a small red fish on sand", request("star"), CONFIG) == ("no concept named",)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a small red fish on sand", ("no concept named",)),
        ("a small red star", ("no background named",)),
        ("star sand", ("too short",)),
        ("a star " * 4 + "on sand", ("too long",)),
        ("", ("no concept named", "no background named", "too short")),
        ("a star on sand => fish", ("echo of the prompt",)),
    ],
)
def test_faults_are_named(text: str, found: tuple[str, ...]) -> None:
    assert faults(text, request("star", "sand"), CONFIG) == found
