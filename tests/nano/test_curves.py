"""The picture of a run's curves."""

import mlflow
import pytest
from PIL import Image

from nano import curves


@pytest.fixture
def uri(tmp_path):
    """Two runs of one name, the second after a kill at step 20."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("nano", artifact_location=str(tmp_path / "artifacts"))
    for first in (5.0, 4.0):
        run = client.create_run(experiment, run_name="pretrain mine").info.run_id
        for step in (10, 20, 20, 30):
            for metric in ("loss/contrastive_global", "loss/contrastive_local", "optimizer/learning_rate"):
                client.log_metric(run, metric, first := first * 0.9, step=step)
    return uri


def test_the_newest_run_of_that_name_is_read_and_each_step_once(uri):
    found = curves.read(uri, "mine")
    assert [step for step, _ in found["loss/contrastive_local"]] == [10, 20, 30]
    assert found["loss/contrastive_global"][0][1] == pytest.approx(4.0 * 0.9)
    assert found["loss/ibot"] == []


def test_a_picture_comes_out(uri, tmp_path):
    curves.main(["mine", "--mlflow", uri, "--to", str(tmp_path / "curves.png")])
    assert len(set(Image.open(tmp_path / "curves.png").convert("L").tobytes())) > 50


def test_a_run_that_is_not_there_is_said_so(uri):
    with pytest.raises(SystemExit, match=r"no run pretrain other in sqlite:.*python -m nano.quickstart makes one"):
        curves.main(["other", "--mlflow", uri])
