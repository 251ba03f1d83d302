"""What a schema cannot say, as CEL rules of the CRD. The API server refuses what breaks one: field, value and rule.

A key that an object does not give is the recipe's, which the API server cannot look up. So the recipes' values of the
few keys that rules need stand in the rules, as tables; they are made from the recipes like everything here.
The stages check the same things when their config is made: a rule only says it sooner.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from config import Section
from controller.names import camel
from controller.resource import Spec
from generator.recipes import RECIPES as GENERATE
from trainer.recipes import RECIPES as PRETRAIN

MULTI_POSITIVE: Final = ("synclr", "stablerep")  # objectives for which images of one caption are positives
MUTABLE: Final = frozenset(
    {
        "suspend",
        "caption.replicas",
        "image.replicas",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
        "failurePolicy",
    }
)
"""What may change while a run is under way."""

Rule = dict[str, str]


@dataclass(frozen=True)
class Key:
    """A key of a recipe's config as CEL: the object's own value, else the recipe's."""

    path: str
    """In the recipe's config: `batch.captions`."""
    place: str
    """In the spec: `pretrain.config.batch.captions`."""
    cel: str


def spec_rules() -> list[Rule]:
    """Rules of `spec`; `self` is the spec."""
    per_caption, per_step = _generate("image.per_caption"), _pretrain("batch.images_per_caption")
    captions, accumulate = _pretrain("batch.captions"), _pretrain("engine.accumulate")
    world = f"self.pretrain.nodes * self.pretrain.processesPerNode * {accumulate.cel}"
    units, per_unit = _generate("caption.count").cel, _generate("caption.per_unit").cel
    shards = f"({units} + {per_unit} - 1) / {per_unit}"
    start, crops, views = (_pretrain(f"batch.{name}") for name in ("start_shards", "local_crops", "global_crops"))
    kind, backoff = _pretrain("objective.kind"), "failurePolicy.backoffSeconds"
    fewest = f'{{"simclr": 2, "declip": 2}}[?{kind.cel}].orValue(1)'
    most = f'{{"synclr": 1, "declip": 2}}[?{kind.cel}].orValue({views.cel})'
    vit = f"size({_pretrain('model.resnet').cel}) == 0"
    return [
        _rule(f"{captions.cel} % ({world}) == 0", captions,
              "a multiple of pretrain.nodes * pretrain.processesPerNode * engine.accumulate", world),
        _rule(f"!({kind.cel} in {json.dumps(MULTI_POSITIVE)}) || {per_caption.cel} >= 2", per_caption,
              "at least 2 for an objective whose positives are the images of one caption"),
        _rule(f"{views.cel} >= {fewest}", views, "at least the views that pretrain.config.objective compares", fewest),
        _rule(f"{views.cel} <= {most}", views, "at most the views that pretrain.config.objective compares", most),
        _rule(f"{vit} || {kind.cel} != 'synclr'", kind, "another than synclr with pretrain.config.model.resnet"),
        _rule(f"{vit} || {crops.cel} == 0", crops, "0 with pretrain.config.model.resnet"),
        _rule(f"{vit} || {accumulate.cel} == 1", accumulate, "1 with pretrain.config.model.resnet"),
        _rule(f"{per_step.cel} <= {per_caption.cel}", per_step, "at most image.config.perCaption", per_caption.cel),
        _rule(f"{start.cel} <= {shards}", start, "at most the image shards that there will be", shards),
        _at_most(_generate("caption.min_words"), _generate("caption.max_words")),
        _multiple(_generate("image.size"), "8", "8"),
        _at_most(_generate("image.save_size"), _generate("image.size")),
        _multiple_of(_pretrain("model.image_size"), _pretrain("model.patch_size")),
        _multiple_of(_pretrain("model.width"), _pretrain("model.heads")),
        _rule(f"{crops.cel} == 0 || {_pretrain('batch.local_size').cel} % {_pretrain('model.patch_size').cel} == 0",
              _pretrain("batch.local_size"), "a multiple of pretrain.config.model.patchSize",
              _pretrain("model.patch_size").cel),
        _at_most(_pretrain("schedule.warmup_steps"), _pretrain("schedule.steps")),
        _rule(f"{_pretrain('batch.augment.blur_kernel').cel} % 2 == 1", _pretrain("batch.augment.blur_kernel"), "odd"),
        *(_ordered(f"batch.{name}") for name in ("global_scale", "local_scale", "augment.blur_sigma")),
        {
            "rule": "!self.tracking.?enabled.orValue(true) || "
            "(self.tracking.?uri.hasValue() && !self.tracking.uri.startsWith('sqlite'))",
            "message": "tracking.uri must be the address of an MLflow server that pods reach, as http://mlflow:5000; "
            "a database file would end with its pod. tracking.enabled: false records nothing",
        },
        {
            "rule": "self.failurePolicy.backoffSeconds <= self.failurePolicy.maxBackoffSeconds",
            "messageExpression": _message(backoff, "at most failurePolicy.maxBackoffSeconds", f"self.{backoff}"),
        },
    ]  # fmt: skip


def object_rules() -> list[Rule]:
    """Rules of the whole object, which see both what is asked and whether it has begun."""
    started = "has(oldSelf.status) && has(oldSelf.status.startTime)"
    return [
        {
            "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 30",
            "messageExpression": "'metadata.name must be at most 30 letters, digits and dashes, a letter first, got %s'"
            ".format([self.metadata.name])",
        },
        *(
            {
                "rule": f"!({started}) || self.spec.{path} == oldSelf.spec.{path}",
                "message": f"spec.{path} cannot be changed after the start; delete the resource and make another",
            }
            for path in frozen()
        ),
    ]


def frozen() -> list[str]:
    """Paths in the spec that cannot be changed after the start: all but MUTABLE."""
    paths = []
    for name, field in Spec.model_fields.items():
        below = [path.removeprefix(f"{camel(name)}.") for path in MUTABLE if path.startswith(f"{camel(name)}.")]
        if below:
            kind: Any = field.annotation
            inner = [camel(one) for one in kind.model_fields]
            paths += [f"{camel(name)}.{one}" for one in inner if one not in below]
        elif camel(name) not in MUTABLE:
            paths.append(camel(name))
    return paths


def _generate(path: str) -> Key:
    section, _, rest = path.partition(".")
    return _key(path, f"{section}.config.{rest}", "generate", GENERATE)


def _pretrain(path: str) -> Key:
    return _key(path, f"pretrain.config.{path}", "pretrain", PRETRAIN)


def _key(path: str, place: str, kind: str, recipes: Mapping[str, Callable[[], Section]]) -> Key:
    values = {name: _at(recipe(), path) for name, recipe in recipes.items()}
    first = next(iter(values.values()))
    same = all(value == first for value in values.values())
    base = json.dumps(first) if same else f"{json.dumps(values)}[self.recipes.{kind}]"
    camels = ".".join(camel(name) for name in place.split("."))
    optional = camels.replace(".config.", ".config.?", 1)
    head, _, tail = optional.partition(".config.?")
    return Key(path, camels, f"self.{head}.config.?{tail.replace('.', '.?')}.orValue({base})")


def _at(config: Section, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _at_most(key: Key, limit: Key) -> Rule:
    return _rule(f"{key.cel} <= {limit.cel}", key, f"at most {limit.place}", limit.cel)


def _multiple_of(key: Key, step: Key) -> Rule:
    return _multiple(key, step.cel, step.place)


def _multiple(key: Key, step: str, what: str) -> Rule:
    shown = "" if step == what else step
    return _rule(f"{key.cel} % {step} == 0", key, f"a multiple of {what}", shown)


def _ordered(path: str) -> Rule:
    """Two numbers of which the second is not the smaller one, where they are given."""
    place = f"pretrain.config.{'.'.join(camel(name) for name in path.split('.'))}"
    given = f"self.pretrain.config.?{place.removeprefix('pretrain.config.').replace('.', '.?')}"
    return {
        "rule": f"!{given}.hasValue() || {given}.value()[0] <= {given}.value()[1]",
        "message": f"{place} must be two numbers in order",
    }


def _rule(rule: str, key: Key, must: str, limit: str = "") -> Rule:
    return {"rule": rule, "messageExpression": _message(key.place, must, key.cel, limit)}


def _message(place: str, must: str, value: str, limit: str = "") -> str:
    """CEL that gives `<place> must be <must> (<limit>), got <value>`.

    By `format`, whose cost the API server estimates from the pattern alone. A number made text and put to others by `+`
    could for all it knows be of any length.
    """
    bound = " (%s)" if limit else ""
    values = f"{limit}, {value}" if limit else value
    return f"'{place} must be {must}{bound}, got %s'.format([{values}])"
