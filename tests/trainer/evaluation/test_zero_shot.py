"""Classes told in words: towers made by hand, whose answer is known, and a checkpoint as training writes it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor

from config import ConfigError, DataError
from nano import captions, renders, vocabulary, world
from shards import Sample, Storage, commit
from tests.trainer.evaluation.test_labelled import labels, png
from tests.trainer.evaluation.toys import MODEL, evaluation, write_checkpoint, write_data, write_objective
from tests.trainer.objectives.small import CONFIGS
from tracking import TrackingConfig
from trainer import objectives
from trainer.config import CLIPConfig, EvaluateConfig, TextConfig, TokenizerConfig, ZeroShotConfig
from trainer.distributed import Single
from trainer.evaluate import evaluate
from trainer.evaluation import labelled
from trainer.evaluation.features import Features, InWords
from trainer.evaluation.zero_shot import class_features, read, reads_text
from trainer.evaluation.zero_shot import evaluate as score
from trainer.models.tokenizers import tokenizer

WORDS = TokenizerConfig(kind="words", context=24)
CLIP = CLIPConfig(embedding=8, tokenizer=WORDS, text=TextConfig(width=16, depth=1, heads=2))


def told(texts: Sequence[str]) -> Tensor:
    """A tower made by hand: how often "cat" and "dog" are in a text, and 1 for a photo."""
    return torch.tensor([[text.count("cat"), text.count("dog"), float("photo" in text)] for text in texts])


def test_a_class_is_the_mean_over_its_names_and_the_templates():
    """cat: "cat" is (1, 0, 0), "photo of cat" (1, 0, 1) with unit (0.7071, 0, 0.7071); their mean (0.8536, 0, 0.3536)
    has length 0.9239, so the unit is (0.9239, 0, 0.3827). The class of two names, dog and cat dog, likewise of four."""
    found = class_features([["cat"], ["dog", "cat dog"]], ["{}", "photo of {}"], told)
    torch.testing.assert_close(found[0], torch.tensor([0.9239, 0.0, 0.3827]), rtol=0, atol=1e-4)
    four = F.normalize(torch.tensor([[0, 1.0, 0], [0, 1, 1], [1, 1, 0], [1, 1, 1]]), dim=1)
    torch.testing.assert_close(found[1], F.normalize(four.mean(0), dim=0))


def test_the_nearest_class_by_angle_wins_whatever_the_length():
    """Image (1, 10, 0) is nearest to dog; (0.1, 0.01, 0) to cat, for all its shortness; (3, 2, 0) to cat. The labels
    say dog, cat, dog: two of three are right."""
    images = torch.tensor([[1, 10, 0], [0.1, 0.01, 0], [3, 2, 0]])
    classes = class_features([["cat"], ["dog"]], ["{}"], told)
    features = Features(torch.zeros(3, 1), {"animal": torch.tensor([1, 0, 1])}, InWords(images, {"animal": classes}))
    found = dict(score(features, features, {"animal": 2}, EvaluateConfig()))
    assert found == {"animal_top1": pytest.approx(200 / 3)}


def test_right_towers_are_right_about_the_small_world(tmp_path: Path):
    """A text tower that knows which words a text has, and images that are what their own captions say: every class of
    every task is told right, by the names that come with the data and the recipe's templates."""
    words = tokenizer(WORDS)

    def bag(texts: Sequence[str]) -> Tensor:
        return torch.stack(
            [torch.bincount(torch.tensor(words.pieces(text)), minlength=words.size) for text in texts]
        ).float()

    names = world.names()
    assert {task: len(of_task) for task, of_task in names.items()} == world.CLASSES
    scenes = [world.scene(0, "test", index) for index in range(200)]
    truth = {task: torch.tensor([scene.labels()[task] for scene in scenes]) for task in names}
    told_fully = [
        f"{thing.texture} {thing.colour} {thing.shape} {vocabulary.BACKGROUND_PHRASES[scene.background][0]}"
        for scene in scenes
        for thing in scene.things
    ]
    classes = {task: class_features(of_task, ["a {}", "a photo of a {}"], bag) for task, of_task in names.items()}
    features = Features(torch.zeros(200, 1), truth, InWords(bag(told_fully), classes))
    found = dict(score(features, features, world.CLASSES, EvaluateConfig()))
    assert all(found[f"{task}_top1"] > 60 for task in names), found


def test_names_are_captions_of_the_small_world():
    """All of their words are on its list, and its own reader finds what they say."""
    words = tokenizer(WORDS)
    for of_task in world.names().values():
        for of_class in of_task:
            for name in of_class:
                assert 1 not in words.pieces(f"a picture of a {name}"), name
    for colour, of_colour in zip(vocabulary.COLOURS, world.names()["colour"], strict=True):
        assert {captions.parse(f"a {name}").colours for name in of_colour} == {(colour,)}


def test_a_checkpoints_towers_are_those_that_were_trained(tmp_path: Path):
    """Every objective with texts: features of images and texts equal those of the objective itself."""
    for name, config in CONFIGS.items():
        if not reads_text(config) or config.reads is None:
            continue
        write_objective(tmp_path / name.replace(" ", "-"), config)
        found = read(Storage(f"{tmp_path}/{name.replace(' ', '-')}"), "toy", 8, config, lambda: None)
        torch.manual_seed(0)
        networks: Any = objectives.build(config, MODEL, Single(), 8).modules()
        words = tokenizer(config.reads)
        texts = ["a red star", "a large blue fish in the sea"]
        token_BT = torch.tensor([words(text) for text in texts])
        expected = networks.text.at_end(networks.text.states(token_BT), token_BT)
        torch.testing.assert_close(found.embed(texts), expected.detach())
        assert torch.equal(found.projection, networks.image_projection.weight), name


def test_objectives_with_texts_are_known():
    known = {name for name, config in CONFIGS.items() if reads_text(config)}
    assert known == {"stablerep plus", "clip", "siglip", "declip", "declip batch"}


def test_it_stands_beside_the_others_where_there_are_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_data(tmp_path)
    write_objective(tmp_path, CLIP)
    _, found = evaluate(evaluation(tmp_path, baselines=False))
    assert list(found) == ["knn", "linear_probe", "zero_shot"]
    assert list(found["zero_shot"]) == ["clip"]
    assert set(found["zero_shot"]["clip"]) == {f"{task}_top1" for task in world.CLASSES}
    file = json.loads((tmp_path / "evaluations" / "toy" / "zero_shot.json").read_text())
    assert file["values"] == found["zero_shot"]
    assert file["config"]["templates"][0] == "itap of a {}."
    again = evaluate(evaluation(tmp_path, baselines=False, zero_shot=ZeroShotConfig(templates=("a {}",))))[1]
    assert set(again["zero_shot"]["clip"]) == set(found["zero_shot"]["clip"])
    assert again["knn"] == found["knn"]


def test_it_is_a_metric_in_mlflow(tmp_path: Path):
    import mlflow

    write_data(tmp_path)
    write_objective(tmp_path, CLIP)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracking = TrackingConfig(uri=uri, system_metrics=False, flush_seconds=300)
    config = evaluation(tmp_path, baselines=False, evaluators=("zero_shot",), tracking=tracking, log_model=False)
    _, found = evaluate(config)
    client = mlflow.MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'reverie'")
    metrics = [run.data.metrics for run in client.search_runs([experiment.experiment_id])]
    expected = found["zero_shot"]["clip"]["shape_top1"]
    assert any(named.get("evaluation/zero_shot_shape_top1") == expected for named in metrics)


def test_without_texts_it_is_refused_or_left_out(tmp_path: Path):
    write_data(tmp_path)
    write_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match=r"zero_shot needs .* 'toy' is of objective\.kind synclr\. Leave zero"):
        evaluate(evaluation(tmp_path, baselines=False, evaluators=("zero_shot",)))
    assert list(evaluate(evaluation(tmp_path, baselines=False))[1]) == ["knn", "linear_probe"]
    assert list(evaluate(evaluation(tmp_path, baselines=False, evaluators=("knn",)))[1]) == ["knn"]


def test_classes_without_names_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write_data(tmp_path)
    for marker in (tmp_path / "labelled").glob("*/*.json"):
        tree = json.loads(marker.read_text())
        del tree["config"]["names"]
        marker.write_text(json.dumps(tree))
    write_objective(tmp_path, CLIP)
    assert list(evaluate(evaluation(tmp_path, baselines=False))[1]) == ["knn", "linear_probe"]
    assert "without zero_shot: the classes of" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"have no names .* or leave zero_shot out of evaluators"):
        evaluate(evaluation(tmp_path, baselines=False, evaluators=("knn", "zero_shot")))
    renders.main(renders.RendersConfig(data=f"{tmp_path}/labelled", train=60, test=30, side=32))  # still its own


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"shape": ["a"]}, "list of names for each of"),
        (7, "list of names for each of"),
        ({"shape": ["a", []]}, "names for 1"),
    ],
)
def test_wrong_names_are_said(tmp_path: Path, names: object, said: str):

    storage = Storage(str(tmp_path))
    classes = {"shape": 2} if said == "names for 1" else {"shape": 2, "colour": 2}
    config = {"classes": classes, "names": names}
    samples = [Sample("00000000", {"png": png(), "json": labels(shape=0, colour=0)})]
    commit(storage, "train", "000000", samples, units=1, attempt="a", statistics={}, config=config)
    with pytest.raises(DataError, match=said):
        labelled.find(storage, "train", ())


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "a {name}", "{}}"])
def test_a_template_has_one_place_for_the_name(template: str):
    with pytest.raises(ValidationError, match=r"templates: each must have \{\} once"):
        ZeroShotConfig(templates=(template,))
