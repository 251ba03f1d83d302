import json
from collections import Counter
from pathlib import Path

import pytest
from pydantic import ValidationError

from config import ConfigError
from generator import concepts
from generator.config import ConceptConfig, ConceptListConfig, TemplateMix
from generator.recipes import RECIPES

ALONE = TemplateMix(concept=1, background=0, relation=0)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    texts = {
        "animals": "# comment\ncat\n\n dog \nfox\n",
        "places": "kitchen\nbeach\n",
        "relations": "under\nabove\n",
        "backgrounds": "garden\nstreet\n",
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    return {name: str(tmp_path / f"{name}.txt") for name in texts}


def animals(files: dict[str, str], **changes: object) -> ConceptListConfig:
    given = {"file": files["animals"], "backgrounds": files["backgrounds"], "relations": files["relations"], **changes}
    return ConceptListConfig.model_validate(given)


def load(*lists: ConceptListConfig, group: int = 1) -> concepts.Concepts:
    return concepts.load(ConceptConfig(lists=lists, group=group), contexts=8, seed=5)


def test_lines_are_concepts_and_comments_are_not(files: dict[str, str]) -> None:
    assert load(animals(files)).lists[0].concepts == ("cat", "dog", "fox")


def test_a_request_depends_on_its_index_alone(files: dict[str, str]) -> None:
    source = load(animals(files))
    forwards = [source.request(i) for i in range(20)]
    assert [source.request(i) for i in reversed(range(20))] == forwards[::-1]


def test_lists_and_templates_are_drawn_by_weight(files: dict[str, str]) -> None:
    places = ConceptListConfig(file=files["places"], weight=1, examples="place", templates=ALONE)
    source = load(animals(files, weight=3.0), places)
    requests = [source.request(i) for i in range(4000)]
    pools = Counter(request.pool for request in requests)
    expected = {"place": 0.25, "object": 0.75 * 0.44, "background": 0.75 * 0.45, "relation": 0.75 * 0.11}
    assert {name: pools[name] / 4000 for name in expected} == pytest.approx(expected, abs=0.03)
    assert {request.concept for request in requests if request.pool == "place"} == {"kitchen", "beach"}


def test_what_is_asked_beside_the_concept_fits_the_template(files: dict[str, str]) -> None:
    source = load(animals(files))
    others = {"concept": {None}, "background": {"garden", "street"}, "relation": {"under", "above"}}
    found: dict[str, set[str | None]] = {name: set() for name in others}
    for i in range(200):
        request = source.request(i)
        found[request.template].add(request.other)
    assert found == others


def test_backgrounds_may_belong_to_their_concept(files: dict[str, str], tmp_path: Path) -> None:
    table = {"cat": ["sofa"], "dog": ["park"], "fox": ["forest"]}
    (tmp_path / "backgrounds.json").write_text(json.dumps(table))
    mix = TemplateMix(concept=0, background=1, relation=0)
    source = load(animals(files, backgrounds=str(tmp_path / "backgrounds.json"), templates=mix))
    for i in range(20):
        request = source.request(i)
        assert request.other == table[request.concept][0]


def test_a_suffix_completes_the_name_of_a_concept(files: dict[str, str]) -> None:
    assert load(animals(files, suffix=" toy")).request(0).concept in {"cat toy", "dog toy", "fox toy"}


def test_a_group_shares_everything_but_the_concept(files: dict[str, str]) -> None:
    source = load(animals(files), group=3)
    for group in range(10):
        twins = [source.request(3 * group + member) for member in range(3)]
        assert {twin.concept for twin in twins} == {"cat", "dog", "fox"}
        assert len({(twin.draws, twin.template, twin.context, twin.other) for twin in twins}) == 1


def test_a_group_longer_than_its_list_draws_anew_for_each_round(files: dict[str, str]) -> None:
    source = load(animals(files), group=6)
    draws = [source.request(i).draws for i in range(6)]
    assert draws == ["0.0"] * 3 + ["0.1"] * 3


def test_backgrounds_missing_for_a_concept_are_named(files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "backgrounds.json").write_text('{"cat": ["sofa"]}')
    message = r"concept\.lists\.0\.backgrounds: .* has no backgrounds for 2 concepts, such as 'dog', 'fox'"
    with pytest.raises(ConfigError, match=message):
        load(animals(files, backgrounds=str(tmp_path / "backgrounds.json")))


@pytest.mark.parametrize("text", ["[]", '{"cat": []}', '{"cat": "sofa"}', '{"cat": [1]}'])
def test_backgrounds_of_another_shape_are_refused(files: dict[str, str], tmp_path: Path, text: str) -> None:
    (tmp_path / "backgrounds.json").write_text(text)
    with pytest.raises(ConfigError, match="must be an object"):
        load(animals(files, backgrounds=str(tmp_path / "backgrounds.json")))


def test_a_missing_list_is_named_with_its_field(files: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"concept\.lists\.0\.file: there is no file or folder /nowhere/cats\.txt"):
        load(animals(files, file="/nowhere/cats.txt"))


def test_an_empty_list_is_refused(files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("# nothing\n")
    with pytest.raises(ConfigError, match="is empty; write one entry per line"):
        load(animals(files, file=str(tmp_path / "none.txt")))


def test_a_template_without_its_file_is_refused(files: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"templates\.relation is 0\.11, but there is no file of relations"):
        animals(files, relations=None)


def test_the_synclr_recipe_has_the_paper_s_tree() -> None:
    config = RECIPES["synclr"]()
    weights = {Path(one.file).stem: one.weight for one in config.concept.lists}
    assert sum(weights.values()) == pytest.approx(1)
    assert weights["imagenet_1k"] == pytest.approx(0.91 * 0.504)
    assert config.caption.count * config.image.per_caption == 600_000_000
    assert (config.caption.temperature, config.caption.top_p) == (0.8, 0.9)
    image = config.image
    assert (image.steps, image.guidance, image.eta, image.size, image.save_size) == (50, 2.5, 0.0, 512, 256)
