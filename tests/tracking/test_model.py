"""A logged encoder loads back in a fresh process that knows nothing of this project, and gives the same features."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from torch import Tensor, nn

from tests.tracking.conftest import Params
from tracking import TrackingConfig, stage_run

LOAD = """
import sys
import mlflow, numpy as np
mlflow.set_tracking_uri(sys.argv[1])
images = np.load("images.npy")
by_pyfunc = mlflow.pyfunc.load_model(sys.argv[2])
assert by_pyfunc.metadata.metadata == {"mean": [0.5]}, by_pyfunc.metadata.metadata
assert [s.shape for s in by_pyfunc.metadata.signature.inputs] == [(-1, 3, 8, 8)]
assert [s.shape for s in by_pyfunc.metadata.signature.outputs] == [(-1, 5)]
assert by_pyfunc.input_example.shape == (2, 3, 8, 8)
by_torch = mlflow.pytorch.load_model(sys.argv[2])
import torch
np.save("pyfunc.npy", by_pyfunc.predict(images))
np.save("torch.npy", by_torch(torch.from_numpy(images)).detach().numpy())
assert not {"tracking", "trainer", "tests"} & set(sys.modules)
"""


class Encoder(nn.Module):
    """Not importable where the model is loaded; behaves otherwise in training."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 5))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_logged_encoder_loads_back_elsewhere(config: TrackingConfig, tmp_path: Path) -> None:
    encoder, images = Encoder().train(), np.random.default_rng(0).random((7, 3, 8, 8), np.float32)
    with stage_run(config, "evaluation", root="runs/nano", params=Params(), resume_key=None) as run:
        uris = [
            run.log_encoder(encoder, images[:2], version=version, step=100, metadata={"mean": [0.5]})
            for version in ("a/100", "a/100", "b/100")
        ]
        run_id = run.run_id
    assert uris[0] is not None
    assert uris[0] == uris[1] != uris[2], "a restart finds its model; other weights are another model"
    outputs = MlflowClient(config.uri).get_run(str(run_id)).outputs
    assert outputs is not None
    assert {(f"models:/{o.model_id}", o.step) for o in outputs.model_outputs} == {(uris[0], 100), (uris[2], 100)}

    np.save(tmp_path / "images.npy", images)
    subprocess.run([sys.executable, "-c", LOAD, config.uri, uris[0]], cwd=tmp_path, check=True, timeout=300)
    with torch.no_grad():
        expected = encoder(torch.from_numpy(images)).numpy()
    for loaded in ("pyfunc", "torch"):
        np.testing.assert_allclose(np.load(tmp_path / f"{loaded}.npy"), expected, rtol=1e-5, atol=1e-6)


def test_an_encoder_that_cannot_be_exported_is_a_warning(
    config: TrackingConfig, caplog: pytest.LogCaptureFixture
) -> None:
    with stage_run(config, "evaluation", root="runs/nano", params=Params(), resume_key=None) as run:
        assert run.log_encoder(nn.Linear(8, 5), np.zeros((1, 8), np.float32), version="a", step=0) is None
    assert "the model encoder could not be recorded: the example must be a batch of at least 2" in caplog.text
