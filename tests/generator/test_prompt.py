from pathlib import Path

import pytest

from config import ConfigError
from generator.check import names
from generator.files import locate
from generator.prompt import EXAMPLES, TEMPLATES, Example, completion, context, load_pools, prompt

STAR = Example("star", "snow", "a small red star on fresh snow")
FISH = Example("fish", "sea", "a striped fish floating in the sea")
HEART = Example("heart", "meadow", "a large pink heart in a meadow")


def test_a_prompt_is_an_instruction_three_examples_and_the_concept_last() -> None:
    assert prompt("background", [STAR, FISH, HEART], "drop", "stone") == (
        "Write a short image description for the object and the background.\n"
        "star, snow => a small red star on fresh snow\n"
        "fish, sea => a striped fish floating in the sea\n"
        "heart, meadow => a large pink heart in a meadow\n"
        "drop, stone =>"
    )


def test_each_template_has_an_instruction_of_its_own() -> None:
    lines = {prompt(template, [STAR], "drop", "stone").split("\n")[0] for template in TEMPLATES}
    assert len(lines) == len(TEMPLATES) == 3


@pytest.mark.parametrize(
    ("written", "caption"),
    [
        (" a red drop on stone\nfish, sea => a fish", "a red drop on stone"),
        (" a red drop  ", "a red drop"),
        ("\na red drop", ""),
        ("", ""),
    ],
)
def test_the_caption_is_the_first_line(written: str, caption: str) -> None:
    assert completion(written) == caption


def test_a_context_is_three_different_examples_and_always_the_same() -> None:
    pool = [Example(str(i), None, f"caption {i}") for i in range(5)]
    contexts = [context(pool, 3, "object", number) for number in range(50)]
    assert contexts == [context(pool, 3, "object", number) for number in range(50)]
    assert all(len(set(one)) == EXAMPLES for one in contexts)
    assert len(set(contexts)) > 30  # of the 60 there are


def test_pools_of_the_package_have_enough_of_every_kind() -> None:
    pools = load_pools(locate("package://generator/examples", "caption.examples"))
    assert set(pools) == {"object", "place", "texture", "background", "relation"}
    for name, pool in pools.items():
        assert len(pool) >= 20, name
        assert len({example.caption for example in pool}) == len(pool), name


def test_every_example_shows_what_the_check_will_ask_for() -> None:
    for folder in ("package://generator/examples", "package://nano/lists/examples"):
        for pool in load_pools(locate(folder, "caption.examples")).values():
            for example in pool:
                assert names(example.caption, example.concept), example
                assert example.other is None or names(example.caption, example.other), example


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("object", "a red star", "object.txt:2: expected 'concept => caption'"),
        ("background", "star => a star", "background.txt:2: expected 'concept, background or relation => caption'"),
    ],
)
def test_a_line_that_is_no_example_is_named(tmp_path: Path, name: str, line: str, message: str) -> None:
    (tmp_path / f"{name}.txt").write_text(f"# comment\n{line}\n")
    with pytest.raises(ConfigError, match=message):
        load_pools(tmp_path)


def test_a_pool_too_small_for_a_context_is_refused(tmp_path: Path) -> None:
    (tmp_path / "object.txt").write_text("star => a star\n")
    with pytest.raises(ConfigError, match="at least 3 examples, got 1"):
        load_pools(tmp_path)


def test_a_folder_without_pools_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"caption\.examples: no example pools"):
        load_pools(tmp_path)
