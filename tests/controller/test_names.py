"""Keys of a resource and keys of a config are the same names in two spellings."""

import pytest

from config import Section
from config.tree import members
from controller.names import camel, snake, snake_keys
from generator.config import GenerateConfig
from trainer.config import EvaluateConfig, PretrainConfig


def sections(kind: type[Section]) -> list[type[Section]]:
    """A section and all below it."""
    found = [kind]
    for field in kind.model_fields.values():
        for member in members(field.annotation):
            if isinstance(member, type) and issubclass(member, Section):
                found += sections(member)
    return found


@pytest.mark.parametrize("tree", [GenerateConfig, PretrainConfig, EvaluateConfig])
def test_every_key_of_every_config_comes_back(tree: type[Section]) -> None:
    for section in sections(tree):
        names = list(section.model_fields)
        assert [snake(camel(name)) for name in names] == names
        assert len({camel(name) for name in names}) == len(names)


@pytest.mark.parametrize("tree", [GenerateConfig, PretrainConfig, EvaluateConfig])
def test_no_config_holds_a_map_whose_keys_would_be_changed(tree: type[Section]) -> None:
    for section in sections(tree):
        assert not [name for name, field in section.model_fields.items() if "dict[" in str(field.annotation)]


def test_trees_change_their_keys_at_every_level_and_no_value() -> None:
    tree = {"perCaption": 4, "lists": [{"topP": "maxWords"}]}
    assert snake_keys(tree) == {"per_caption": 4, "lists": [{"top_p": "maxWords"}]}
