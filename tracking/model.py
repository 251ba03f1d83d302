"""A trained encoder as an MLflow model that loads back without this project's code.

It is stored as torch's exported graph (pt2): weights and operations, no pickled classes. Imports MLflow and torch:
only `tracking.run` imports this file, when a model is logged.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow.pytorch
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import nn

VERSION_TAG = "reverie.version"


def log(
    client: MlflowClient,
    run: str,
    experiment: str,
    encoder: "nn.Module",
    example: NDArray[np.float32],
    *,
    name: str,
    version: str,
    step: int,
    metadata: Mapping[str, Any],
) -> str:
    """Logs `encoder` as output of `run`, unless this version of it is there already.

    Args:
        encoder: takes a batch [N, ...] and gives features [N, D]. Put into eval mode; moved to the CPU.
        example: a batch of at least 2 inputs: an exported graph takes any N then, with N = 1 it would take no other.
        version: names the weights (run and step): a restarted stage finds what it logged by it.
        step: training step of the weights.
        metadata: anything a user of the model must know (normalisation, data); stored beside it.

    Returns:
        The model's URI, for `mlflow.pyfunc.load_model` and `mlflow.pytorch.load_model`.
    """
    if len(example) < 2:
        raise ValueError(f"the example must be a batch of at least 2 inputs, got {len(example)}")
    if (known := _known(client, run, experiment, version)) is not None:
        return known
    logged = client.create_logged_model(
        experiment, name=name, source_run_id=run, tags={VERSION_TAG: version}, model_type="encoder"
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            _save(encoder.cpu().eval(), example, path, logged, run, metadata)
            client.log_model_artifacts(logged.model_id, str(path))
    except BaseException:
        client.finalize_logged_model(logged.model_id, LoggedModelStatus.FAILED)
        raise
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    client.log_outputs(run, [LoggedModelOutput(logged.model_id, step=step)])
    return str(logged.model_uri)


def _known(client: MlflowClient, run: str, experiment: str, version: str) -> str | None:
    models = client.search_logged_models([experiment], filter_string=f"source_run_id = '{run}'")
    ready = [m for m in models if m.tags.get(VERSION_TAG) == version and m.status == LoggedModelStatus.READY]
    return str(ready[0].model_uri) if ready else None


def _save(
    encoder: "nn.Module",
    example: NDArray[np.float32],
    path: Path,
    logged: LoggedModel,
    run: str,
    metadata: Mapping[str, Any],
) -> None:
    with torch.no_grad():
        features = encoder(torch.from_numpy(example)).numpy()
    inputs, outputs = (Schema([TensorSpec(a.dtype, (-1, *a.shape[1:]))]) for a in (example, features))
    packages = [f"{p.__name__}=={p.__version__.partition('+')[0]}" for p in (mlflow, np, torch)]
    mlflow.pytorch.save_model(
        encoder,
        path,
        mlflow_model=Model(
            artifact_path=logged.artifact_location,
            model_uuid=logged.model_id,
            run_id=run,
            metadata=dict(metadata),
            model_id=logged.model_id,
        ),
        signature=ModelSignature(inputs, outputs),
        input_example=example,
        pip_requirements=packages,  # else MLflow loads the model once more in a process of its own to find them
        serialization_format="pt2",
    )
