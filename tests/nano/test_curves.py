"""The picture of a run's curves."""

import mlflow
import pytest
from PIL import Image

from nano import curves


@pytest.fixture
def uri(tmp_path):
    """Two runs of one name, the second with the values 4, 3, 2, 1; both did step 20 twice, as after a kill."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = mlflow.MlflowClient(uri)
    experiment = client.create_experiment("nano", artifact_location=str(tmp_path / "artifacts"))
    for start, more in ((1000, 10.0), (2000, 0.0)):
        run = client.create_run(experiment, start_time=start, run_name="pretrain mine").info.run_id
        for now, step, value in ((1, 10, 4.0), (2, 20, 3.0), (3, 20, 2.0), (4, 30, 1.0)):
            for metric in ("loss/contrastive_global", "loss/contrastive_local", "optimizer/learning_rate"):
                client.log_metric(run, metric, value + more, timestamp=start + now, step=step)
    return uri


def test_the_newest_run_of_that_name_is_read_and_each_step_as_it_went_last(uri):
    found = curves.read(uri, "mine")
    assert found["loss/contrastive_local"] == [(10, 4.0), (20, 2.0), (30, 1.0)]
    assert found["loss/ibot"] == []


def test_a_picture_comes_out(uri, tmp_path):
    curves.main(["mine", "--mlflow", uri, "--to", str(tmp_path / "curves.png")])
    assert len(set(Image.open(tmp_path / "curves.png").convert("L").tobytes())) > 50


def test_a_run_that_is_not_there_is_said_so(uri):
    with pytest.raises(SystemExit, match=r"no run pretrain other in sqlite:.*python -m nano.quickstart makes one"):
        curves.main(["other", "--mlflow", uri])
