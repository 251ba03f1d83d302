"""The stage `evaluation`: from a checkpoint and labelled shards to results that are computed once."""

import contextlib
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from config import ConfigError, DataError
from tests.trainer.evaluation.toys import evaluation, write_checkpoint, write_data, write_objective
from tests.trainer.objectives import small
from tracking import TrackingConfig
from trainer.config import EvaluateConfig
from trainer.evaluate import evaluate, main, told
from trainer.recipes import EVALUATIONS, RECIPES


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_data(tmp_path)
    write_checkpoint(tmp_path)
    return tmp_path


def result(root: Path, evaluator: str = "knn") -> dict[str, object]:
    found: dict[str, object] = json.loads((root / "evaluations" / "toy" / f"{evaluator}.json").read_text())
    return found


def test_results_are_written_and_printed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(evaluation(root))
    printed = capsys.readouterr().out
    assert printed.index("random init") < printed.index("raw pixels") < printed.index("SynCLR")
    assert "toy, step 8, on 30 held-out images" in printed
    for evaluator in ("knn", "linear_probe"):
        found = result(root, evaluator)
        values = found["values"]
        assert isinstance(values, dict)
        assert list(values) == ["random_init", "raw_pixels", "synclr"]
        assert 0 <= values["synclr"]["colour_top1"] <= 100
        assert found["checkpoint"]["run"] == "toy"
        assert len(found["data"]["test"]["digest"]) == 64


def test_a_status_is_told_top1_of_the_trained_encoder_first() -> None:
    values = {"random_init": {"shape_top1": 30.0}, "synclr": {"shape_top1": 81.23456, "shape_top1_k5": 80.0}}
    assert told({"knn": values, "linear_probe": {"synclr": {"shape_rate": 0.1, "shape_top1": float("nan")}}}) == [
        {"name": "knn/synclr", "metric": "shape_top1", "value": 81.235},
        {"name": "knn/random_init", "metric": "shape_top1", "value": 30.0},
    ]


def test_a_second_run_reuses_what_has_not_changed(root: Path) -> None:
    path = root / "evaluations" / "toy" / "knn.json"
    _, first = evaluate(evaluation(root))
    marked = {**result(root), "values": {**first["knn"], "synclr": {**first["knn"]["synclr"], "colour_top1": 1.5}}}
    path.write_text(json.dumps(marked))  # if this value comes back, nothing was computed
    _, again = evaluate(evaluation(root))
    assert again["knn"]["synclr"]["colour_top1"] == 1.5
    assert again["linear_probe"] == first["linear_probe"]


@pytest.mark.parametrize("change", ["weights", "data", "settings", "damage"])
def test_other_weights_data_or_settings_are_evaluated_again(root: Path, change: str) -> None:
    evaluate(evaluation(root, baselines=False))
    path = root / "evaluations" / "toy" / "knn.json"
    path.write_text(json.dumps({**result(root), "values": "old"}))
    config = evaluation(root, baselines=False)
    if change == "weights":
        write_checkpoint(root, seed=6)
    elif change == "data":
        write_data(root / "more", train=61)
        config = evaluation(root, baselines=False, data=f"{root}/more/labelled")
    elif change == "settings":
        config = config.model_copy(update={"knn": config.knn.model_copy(update={"temperature": 0.1})})
    else:
        path.write_text("{")
    _, found = evaluate(config)
    assert result(root)["values"] == found["knn"]


def test_the_random_baseline_is_the_same_in_every_evaluation(root: Path) -> None:
    _, first = evaluate(evaluation(root))
    write_checkpoint(root, seed=6)
    _, second = evaluate(evaluation(root))
    assert first["knn"]["random_init"] == second["knn"]["random_init"]
    assert first["knn"]["synclr"] != second["knn"]["synclr"]


def test_tasks_can_be_chosen(root: Path) -> None:
    _, found = evaluate(evaluation(root, tasks=("background",)))
    assert set(found["knn"]["synclr"]) == {"background_top1", "background_top1_k5", "background_top1_k1"}


def test_what_is_missing_is_said_with_its_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="root: say where the run lives"):
        main(EvaluateConfig())
    with pytest.raises(DataError, match=rf"python -m nano.renders --recipe nano --data .*{tmp_path}/labelled"):
        evaluate(evaluation(tmp_path))
    write_data(tmp_path)
    with pytest.raises(DataError, match=rf"python -m trainer.pretrain --recipe nano --root .*{tmp_path} --run toy"):
        evaluate(evaluation(tmp_path))


def test_every_pretraining_recipe_has_an_evaluation_of_its_run() -> None:
    assert {name: recipe().run for name, recipe in EVALUATIONS.items()} == {n: r().run for n, r in RECIPES.items()}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_any_moment_it_goes_on(root: Path, tmp_path: Path) -> None:
    write_data(tmp_path / "more", train=800, test=500)
    settings = ["--data", f"{tmp_path}/more/labelled", "--run", "toy", "--tracking.enabled", "false"]
    command = [sys.executable, "-m", "trainer.evaluate", "--recipe", "nano", "--root", str(root), *settings]
    moments = random.Random(0)
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(moments.uniform(2, 20))
        process.kill()
        process.wait()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after_kills = [result(root, evaluator) for evaluator in ("knn", "linear_probe")]
    shutil.rmtree(root / "evaluations")
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert after_kills == [result(root, evaluator) for evaluator in ("knn", "linear_probe")]


@pytest.mark.timeout(600)
def test_the_evaluation_is_in_mlflow_with_its_data_and_its_model(root: Path) -> None:
    import mlflow
    import numpy as np

    uri = f"sqlite:///{root}/mlflow.db"
    tracking = TrackingConfig(uri=uri, system_metrics=False, flush_seconds=300)
    for _ in range(2):  # a second time: the same run, the same model
        evaluate(evaluation(root, tracking=tracking))
    client = mlflow.MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'reverie'")
    (parent, child) = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.params["pretrain.objective.kind"] == "synclr"
    values = result(root)["values"]
    assert isinstance(values, dict)
    assert child.data.metrics["evaluation/knn_shape_top1"] == values["synclr"]["shape_top1"]
    tops = [value for key, value in values["synclr"].items() if key.endswith("_top1")]
    assert child.data.metrics["evaluation/knn_mean_top1"] == pytest.approx(sum(tops) / len(tops))
    assert "evaluation/random_init_linear_probe_shape_colour_top1_best" in child.data.metrics
    assert {d.dataset.name for d in child.inputs.dataset_inputs} == {"labelled train", "labelled test"}
    assert child.outputs is not None
    (model,) = child.outputs.model_outputs
    loaded = mlflow.pyfunc.load_model(client.get_logged_model(model.model_id).artifact_location)
    assert loaded.predict(np.random.default_rng(0).random((5, 3, 32, 32), np.float32)).shape == (5, 16)


@pytest.mark.timeout(600)
def test_a_resnet_is_evaluated_and_its_model_takes_any_number_of_images(tmp_path: Path) -> None:
    """Beside a random one, and with classes in words; by running statistics, so an image's feature is its own."""
    import mlflow
    import numpy as np

    write_data(tmp_path)
    write_objective(tmp_path, small.CONFIGS["clip"], small.RESNET)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    tracking = TrackingConfig(uri=uri, system_metrics=False, flush_seconds=300)
    _, found = evaluate(evaluation(tmp_path, tracking=tracking))
    assert list(found["knn"]) == ["random_init", "raw_pixels", "clip"]
    assert list(found["zero_shot"]) == ["clip"]
    client = mlflow.MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'reverie'")
    runs = client.search_runs([experiment.experiment_id])
    (model,) = (output for run in runs if run.outputs for output in run.outputs.model_outputs)
    loaded = mlflow.pyfunc.load_model(client.get_logged_model(model.model_id).artifact_location)
    images = np.random.default_rng(0).random((5, 3, 64, 64), np.float32)
    features = loaded.predict(images)
    assert features.shape == (5, small.RESNET.width)
    np.testing.assert_allclose(loaded.predict(images[:1]), features[:1], rtol=1e-5, atol=1e-6)
