"""The main job on the cluster, through real vLLM pods, is the same job as on this machine."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest

from nano import results
from shards import Storage, check, dataset_digest, markers
from tests.cluster.cluster import ROOT, LocalCluster
from tests.cluster.launched import MLFLOW, phase, pods, run, words
from tests.cluster.waiting import eventually
from tests.integration.test_pipeline import TINY
from tests.servers.s3 import BUCKET

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]

VLLM = (
    "--caption.engine=vllm", "--caption.vllm.max_model_len=512", "--caption.vllm.enforce_eager=true",
    "--caption.vllm.gpu_memory_utilization=0.1",  # two pods share one machine's memory with everything else
)  # fmt: skip
SETTINGS = (*TINY, *VLLM, "--metrics.every_steps=1")
ENDED = ("Completed", "Failed", "Aborted", "Terminated")


@dataclass(frozen=True)
class Both:
    """The run on the cluster and the one on this machine."""

    cluster: Path
    here: Path
    losses: dict[str, list[float]]


@pytest.fixture(scope="module")
def finished(local: LocalCluster, storage: None, tmp_path_factory: pytest.TempPathFactory) -> Both:
    """2 caption pods, 3 generation pods, a gang of 2 and an evaluation; and processes in the same numbers."""
    bucket = local.s3.folder / BUCKET
    renders = ["--recipe", "nano", "--train", "48", "--test", "24", "--data", str(bucket / "labelled")]
    subprocess.run([sys.executable, "-m", "nano.renders", *renders], cwd=ROOT, check=True)
    job = run(
        local, "pipeline", "--root", f"s3://{BUCKET}/run", "--data", f"s3://{BUCKET}/labelled", "--mlflow", MLFLOW,
        "--captioners", "2", "--generators", "3", "--nodes", "2", "--threads", "1", "--", *SETTINGS,
    )  # fmt: skip
    eventually("an end of the job", lambda: phase(local, job) in ENDED, 1800)
    assert phase(local, job) == "Completed", words(local, job)
    roles = [pod["metadata"]["labels"]["torchx.pytorch.org/role-name"] for pod in pods(local, job)]
    assert {role: roles.count(role) for role in roles} == {"caption": 2, "image": 3, "pretrain": 2, "evaluate": 1}

    here = tmp_path_factory.mktemp("here")
    stage = [str(ROOT / ".venv-vllm" / "bin" / "python"), "-m", "generator.caption", "--recipe", "nano"]
    settings = [flag for flag in SETTINGS if flag.startswith(("--caption.", "--image.", "--lease."))]
    subprocess.run([*stage, "--root", str(here / "run"), "--tracking.enabled=false", *settings], cwd=ROOT, check=True)
    flags = ["--root", str(here / "run"), "--data", str(bucket / "labelled"), "--mlflow", f"sqlite:///{here}/mlflow.db"]
    flags += ["--nproc_per_node", "2", "--threads", "1", "--", *SETTINGS]
    torchx = str(Path(sys.executable).parent / "torchx")
    command = [torchx, "run", "-cfg", f"log_dir={here}/logs", "components/pipeline.py", *flags]
    subprocess.run(command, cwd=ROOT, check=True)
    database = local.agent.folder / "pods" / "claims" / "ml" / "reverie-mlflow" / "mlflow.db"
    return Both(bucket / "run", here / "run", {"cluster": losses(database), "here": losses(here / "mlflow.db")})


def losses(database: Path) -> list[float]:
    """Of each step."""
    client = mlflow.MlflowClient(f"sqlite:///{database}")
    experiment = client.get_experiment_by_name("reverie")
    assert experiment is not None
    (child,) = client.search_runs(
        [experiment.experiment_id], "tags.`reverie.stage` = 'pretrain' AND params.root LIKE '%/run'"
    )
    history = client.get_metric_history(child.info.run_id, "loss/total")
    return [point.value for point in sorted(history, key=lambda point: point.step)]


def test_all_captions_and_images_are_there_once(finished: Both) -> None:
    for stage in ("captions", "images"):
        report = check(Storage(str(finished.cluster)), stage)
        assert (report.good, report.samples, report.bad, report.missing) == (3, 12, {}, [])


@pytest.mark.parametrize("stage", ["captions", "images"])
def test_the_data_is_that_of_a_run_on_this_machine(finished: Both, stage: str) -> None:
    cluster, here = (
        dataset_digest(markers(Storage(str(root)), stage).values()) for root in (finished.cluster, finished.here)
    )
    assert cluster == here


def test_the_losses_are_those_of_a_run_on_this_machine(finished: Both) -> None:
    assert len(finished.losses["cluster"]) == 4
    assert finished.losses["cluster"] == finished.losses["here"]


def test_the_evaluation_is_that_of_a_run_on_this_machine(finished: Both) -> None:
    cluster, here = results.read(finished.cluster), results.read(finished.here)
    assert cluster is not None
    assert here is not None
    assert {name: one["values"] for name, one in cluster.items()} == {name: one["values"] for name, one in here.items()}
