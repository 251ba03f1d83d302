"""Overrides reach the leaf that was meant, and a wrong one is told by its path, its value and where it came from."""

from typing import Any

import pytest

from config import ConfigError
from config.tree import build, unknown
from tests.config.sample import Clip, RunConfig, SynClr, nano

TREE = nano().model_dump(mode="json")


def built(*overrides: tuple[str, str]) -> RunConfig:
    return build(RunConfig, TREE, overrides)


def test_without_overrides_the_base_comes_back() -> None:
    assert built() == nano()


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("caption.count", "12", 12),
        ("caption.model", "12", "12"),
        ("caption.model", "a: b # c", "a: b # c"),
        ("caption.model", '"12"', "12"),
        ("caption.label", "null", None),
        ("caption.label", "#1", "#1"),
        ("caption.label", "", ""),
        ("caption.sizes", "[4, 5]", (4, 5)),
        ("caption.options.threads", "3", {"threads": 3}),
        ("caption.options", '{"a": "b"}', {"a": "b"}),
    ],
)
def test_a_value_is_read_as_its_field_wants_it(path: str, text: str, value: Any) -> None:
    assert getattr(built((path, text)).caption, path.split(".")[1]) == value


def test_a_number_may_be_written_in_any_way() -> None:
    objective = built(("objective.temperature", "1e-3")).objective
    assert isinstance(objective, Clip)
    assert objective.temperature == 0.001


def test_the_last_of_two_wins() -> None:
    assert built(("caption.count", "2"), ("caption.count", "4")).caption.count == 4


def test_a_section_that_was_off_is_switched_on_by_its_fields() -> None:
    pool = built(("pool.model", "big"), ("pool.count", "6")).pool
    assert pool is not None
    assert (pool.model, pool.count) == ("big", 6)


def test_choosing_another_kind_of_section_starts_from_its_defaults() -> None:
    assert built(("objective.name", "synclr"), ("objective.momentum", "0.9")).objective == SynClr(momentum=0.9)


def test_a_whole_section_may_be_given_as_json() -> None:
    given = ("objective", '{"name": "synclr", "momentum": 0.5}')
    assert built(given).objective == SynClr(momentum=0.5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [("caption.cout", "3")],
            "--caption.cout: no key caption.cout; did you mean caption.count? known: caption.count, ",
        ),
        (
            [("capton.count", "3")],
            "--capton.count: no key capton; did you mean caption? known: root, caption, objective",
        ),
        ([("caption.count", "0")], "caption.count: Input should be greater than 0, got 0 (--caption.count)"),
        ([("caption.count", "ten")], 'caption.count: Input should be a valid integer, got "ten" (--caption.count)'),
        ([("caption.count", "3")], "caption.count must be even, got 3"),
        ([("caption.count.x", "3")], "--caption.count.x: caption.count is 400, without keys; give it whole, as JSON"),
        ([("objective.temperature", "0")], "objective.temperature: Input should be greater than 0, got 0"),
        (
            [("objective.name", "clop")],
            "objective.name: no name clop; did you mean clip? known: clip, synclr (--objective.name)",
        ),
        ([("pool.count", "2")], "pool.model: required, but not given"),
        ([("caption.sizes", "[1, x]")], 'caption.sizes.1: Input should be a valid integer, got "x" (--caption.sizes)'),
    ],
)
def test_a_wrong_override_is_explained(overrides: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(*overrides)
    assert message in str(caught.value)


def test_every_wrong_field_has_a_line() -> None:
    with pytest.raises(ConfigError) as caught:
        built(("caption.count", "0"), ("objective.temperature", "0"))
    assert [line.partition(":")[0] for line in str(caught.value).splitlines()] == [
        "caption.count",
        "objective.temperature",
    ]


def test_a_wrong_file_is_named() -> None:
    tree = {"caption": {"model": "m", "cuont": 3}}
    with pytest.raises(
        ConfigError, match=r"caption.cuont: no key caption.cuont; did you mean caption.count\?.*\(f.yaml\)"
    ):
        build(RunConfig, tree, where="f.yaml")


def test_a_file_may_lack_what_an_override_gives() -> None:
    assert build(RunConfig, {"caption": {}}, [("caption.model", "m")]).caption.model == "m"


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    assert unknown("recipe", "nan", ["nano", "vit"]) == "no recipe nan; did you mean nano? known: nano, vit"
    assert unknown("recipe", "zzz", []) == "no recipe zzz; known: none"
