"""Every objective, stopped at a random step and resumed, ends as if it had not been.

By the real loop, engine and checkpoints. What resuming is made of is tested with SynCLR in test_loop.py and
test_pretrain.py. This is about what objectives keep: a teacher, counts, a queue.
"""

import json
import random
from typing import Any

import pytest
import torch

from shards import Sample, Storage
from tests.trainer.objectives import small
from tests.trainer.objectives_for_tests import Killed, Log, dies_at
from tests.trainer.scenes import VIEWS, pretrain_config, sample, shard
from trainer import objectives
from trainer.checkpoint import Checkpoints
from trainer.config import ModelConfig, ObjectiveConfig, PretrainConfig
from trainer.loop import train
from trainer.objectives import Objective
from trainer.objectives.protocol import Comparing, Embedded

STEPS = 6
KINDS = {**small.CONFIGS, "synclr": pretrain_config("unused").objective}
COLOURS, SHAPES = ("red", "blue", "green"), ("disc", "square", "star", "heart", "cross")


def told(number: int) -> Sample:
    """A sample with a caption of the small world's words, and its concept."""
    colour, shape = COLOURS[number % len(COLOURS)], SHAPES[number % len(SHAPES)]
    caption = {"txt": f"a big {colour} {shape} on sand".encode(), "json": json.dumps({"concept": shape}).encode()}
    return Sample(f"c{number:06}", sample(number).fields | caption)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("resume"))
    for unit in range(4):
        shard(Storage(folder), unit, [told(5 * unit + place) for place in range(5)], 4)
    return folder


def config_of(root: str, name: str, objective: ObjectiveConfig, model: ModelConfig | None = None) -> PretrainConfig:
    base = pretrain_config(root)
    two = {"images_per_caption": 1, "global_crops": VIEWS} if objective.kind in ("simclr", "declip") else {}
    if objective.kind != "synclr":
        two |= {"local_crops": 0}
    return base.model_copy(
        update={
            "run": name.replace(" ", "-"),
            "objective": objective,
            "model": model or base.model,
            "batch": base.batch.model_copy(update=two),
            "schedule": base.schedule.model_copy(update={"steps": STEPS}),
        }
    )


def final(config: PretrainConfig) -> dict[str, torch.Tensor]:
    """All that the last checkpoint holds."""
    found = Checkpoints(Storage(config.root), config.run).load(STEPS)
    return {**found.model, **found.optimizer}


@pytest.mark.parametrize("name", KINDS)
def test_resumed_at_a_random_step_it_ends_as_if_it_had_not_been(root: str, name: str):
    """Losses and all that the checkpoint holds, to the last digit. Checkpoints are two steps apart."""
    ends_as_if_it_had_not_been(config_of(root, name, KINDS[name]))


@pytest.mark.parametrize("name", ["clip", "declip", "superclass"])
def test_so_does_a_resnet(root: str, name: str):
    """With its norms' running statistics, beside what objectives keep; they are in the encoder that is exported."""
    ends_as_if_it_had_not_been(config := config_of(root, f"{name} resnet", KINDS[name], small.RESNET))
    mean = final(config)["backbone.bn1.running_mean"]
    assert mean.abs().min() > 0
    encoder = Checkpoints(Storage(root), config.run).encoder()
    assert torch.equal(encoder.state_dict()["resnet.bn1.running_mean"], mean)


@pytest.mark.parametrize("name", ["synclr", "declip"])
def test_so_does_a_run_of_micro_batches(root: str, name: str):
    """The loss is of both together; the teacher and the queue move once a step."""
    config = config_of(root, f"{name} in parts", KINDS[name])
    config = config.model_copy(update={"engine": config.engine.model_copy(update={"accumulate": 2})})
    comparisons = 0

    def build(*given: Any) -> Objective:
        objective = objectives.build(*given)
        assert isinstance(objective, Comparing)
        compare = objective.compare

        def dies_in_the_fourth(embedded: Embedded) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            nonlocal comparisons
            comparisons += 1
            if comparisons == 4:
                raise Killed
            return compare(embedded)

        objective.compare = dies_in_the_fourth  # type: ignore[method-assign]
        return objective

    with pytest.raises(Killed):
        train(config, build)
    train(config)
    train(straight := config.model_copy(update={"run": f"{config.run}-straight"}))
    same(config, straight)


def ends_as_if_it_had_not_been(config: PretrainConfig) -> None:
    straight, first, rest = Log(), Log(dies_at(died := random.Random().randrange(1, STEPS))), Log()
    print(f"dies in loss {died}")
    train(config.model_copy(update={"run": f"{config.run}-straight"}), straight.build)
    with pytest.raises(Killed):
        train(config, first.build)
    train(config, rest.build)
    again = died - died % 2
    assert first.losses == straight.losses[:died]
    assert rest.losses[1 if again else 0 :] == straight.losses[again:]
    same(config, config.model_copy(update={"run": f"{config.run}-straight"}))


def same(one: PretrainConfig, other: PretrainConfig) -> None:
    ours, theirs = final(one), final(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_what_is_kept_has_moved(root: str):
    """Otherwise the test above would see nothing of it: six steps of four captions, in two views for the queue."""
    for name, key, count in (("declip", "queued", 48), ("superclass", "captions", 24), ("synclr", "step", 6)):
        config = config_of(root, f"moved {name}", KINDS[name])
        train(config)
        assert int(final(config)[key]) == count
