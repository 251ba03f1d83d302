"""A spec with its recipes as whole configs. It is done once, when a run starts, and kept in the status: what a recipe
says later, or a later release, does not change a run that is under way.
"""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from typing import Any, TypeVar

from pydantic import Field

from components.render import labelled
from components.roles import default_image
from config import ConfigError, Section
from config.section import flatten
from config.tree import build, unknown
from controller.names import snake_keys
from controller.resource import Overrides, Spec
from controller.status import StageName
from generator.config import GenerateConfig
from generator.recipes import RECIPES as GENERATE
from trainer.config import EvaluateConfig, PretrainConfig
from trainer.recipes import EVALUATIONS
from trainer.recipes import RECIPES as PRETRAIN

C = TypeVar("C", bound=Section)


class Resolved(Section):
    """What a run goes by, from its start to its end."""

    version: str
    """Release that resolved it."""
    generate: GenerateConfig
    """Of captions and images."""
    pretrain: PretrainConfig
    """Of pretraining."""
    evaluate: EvaluateConfig
    """Of the evaluation."""
    images: dict[StageName, str] = Field(min_length=1)
    """Container image of each stage that the run has, in the order of the work."""

    @property
    def stages(self) -> tuple[StageName, ...]:
        """The stages that the run has, in the order of the work."""
        return tuple(self.images)


def resolve(spec: Spec) -> Resolved:
    """Everything that the stages will be told.

    Raises:
        ConfigError: the spec gives a config that its stage would refuse, with the line that it would print.
    """
    tracking = {"tracking": spec.tracking}
    changes: Overrides = {"concept": spec.concept, "caption": spec.caption.config, "image": spec.image.config}
    generate = _config("generate", GenerateConfig, GENERATE, spec.recipes.generate,
                       {**changes, "lease": spec.lease, **tracking, "root": spec.root})  # fmt: skip
    pretrain = _config("pretrain", PretrainConfig, PRETRAIN, spec.recipes.pretrain,
                       {**spec.pretrain.config, **tracking, "root": spec.root})  # fmt: skip
    data = spec.evaluate.data or labelled(spec.root)
    given = {"root": spec.root, "run": pretrain.run, "data": data, "step": None, "wait": 0.0}
    evaluate = _config("evaluate", EvaluateConfig, EVALUATIONS, spec.recipes.evaluate,
                       {**spec.evaluate.config, **tracking, **given})  # fmt: skip
    return Resolved(
        version=version("reverie"), generate=generate, pretrain=pretrain, evaluate=evaluate, images=_images(spec)
    )


def load(tree: Mapping[str, Any]) -> Resolved:
    """What the status keeps.

    Raises:
        ConfigError: this release does not know all that it says.
    """
    return _load(json.dumps(tree))


@lru_cache(maxsize=4096)  # it never changes after the start, and each look at a run needs it
def _load(text: str) -> Resolved:
    return build(Resolved, json.loads(text), where="status.resolved")


def flags(config: Section) -> list[str]:
    """A whole config as flags of its stage, a key each; so nothing is left to the recipe that stands before them."""
    tree = config.model_dump(mode="json")
    return [f"--{key}={json.dumps(value, separators=(',', ':'))}" for key, value in tree.items() if key != "root"]


def _config(stage: str, kind: type[C], recipes: Mapping[str, Any], recipe: str, changes: Overrides) -> C:
    if recipe not in recipes:
        raise ConfigError(f"recipes.{stage}: {unknown('recipe', recipe, recipes)}")
    leaves = flatten(snake_keys(changes)).items()
    # What tells the members of a union apart comes first: it takes away the keys of the others.
    ordered = sorted(leaves, key=lambda leaf: leaf[0].rpartition(".")[2] != "kind")
    return build(
        kind, recipes[recipe]().model_dump(mode="json"), [(key, json.dumps(v)) for key, v in ordered if v != {}]
    )


def _images(spec: Spec) -> dict[StageName, str]:
    named: dict[StageName, str] = {"caption": spec.caption.image, "image": spec.image.image}
    if not spec.evaluate.data:
        named["render"] = ""
    named |= {"pretrain": spec.pretrain.image, "evaluate": spec.evaluate.image}
    return {stage: image or default_image(stage) for stage, image in named.items()}
