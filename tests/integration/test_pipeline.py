"""The main job at a tiny size, with the real nano models: killed, resumed, finished, repeated, and refused.

What the README and `docs/` promise about `torchx run components/pipeline.py` and `python -m nano.quickstart` in general
is shown here in a few minutes; only the numbers of the real size are not.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from config.lifeline import VARIABLE
from nano import results
from shards import Storage, check, markers
from tests.docs.commands import ALL

ROOT = Path(__file__).parents[2]
TINY = (
    "--caption.count=12", "--caption.per_unit=4", "--image.steps=2", "--image.batch=8", "--lease.poll=0.5",
    "--schedule.steps=4", "--schedule.warmup_steps=1", "--batch.captions=4", "--checkpoint.every_steps=1",
    "--knn.neighbours=[5]", "--linear_probe.epochs=2", "--log_model=false", "--tracking.system_metrics=false",
)  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]


class Job:
    """A pipeline with a root, labelled data, logs and an MLflow database of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.labelled = folder, folder / "run", folder / "labelled"
        self.mlflow = f"sqlite:///{folder}/mlflow.db"

    def torchx(self, *overrides: str) -> subprocess.CompletedProcess[str]:
        """`torchx run components/pipeline.py` to its end."""
        binary = str(Path(sys.executable).parent / "torchx")
        flags = ["--root", str(self.root), "--data", str(self.labelled), "--mlflow", self.mlflow, "--threads", "1"]
        command = [binary, "run", "-cfg", f"log_dir={self.folder}/logs", "components/pipeline.py", *flags, "--"]
        return subprocess.run([*command, *TINY, *overrides], cwd=ROOT, capture_output=True, text=True)

    def quickstart(self) -> "subprocess.Popen[bytes]":
        """`python -m nano.quickstart` on the same run."""
        flags = ["--root", str(self.root), "--mlflow", self.mlflow, "--", *TINY, f"--data={self.labelled}"]
        return subprocess.Popen([sys.executable, "-m", "nano.quickstart", *flags], cwd=ROOT)

    def markers(self) -> dict[str, tuple[str, int]]:
        """Every committed shard, with the digest of its bytes and when it was committed."""
        storage = Storage(str(self.root))
        found = [marker for stage in ("captions", "images") for marker in markers(storage, stage).values()]
        return {one.path: (one.sha256, (self.root / one.path).stat().st_mtime_ns) for one in found}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """With labelled renders, and nothing else yet."""
    job = Job(tmp_path_factory.mktemp("pipeline"))
    flags = ["--recipe", "nano", "--train", "48", "--test", "24", "--data", str(job.labelled)]
    subprocess.run([sys.executable, "-m", "nano.renders", *flags], cwd=ROOT, check=True)
    return job


def started_by(pid: int) -> Iterator[psutil.Process]:
    """The processes whose lifeline is a process."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(VARIABLE) == str(pid) and process.status() != psutil.STATUS_ZOMBIE:
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def wait_until(what: str, true: Callable[[], object], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"{what} after {seconds} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def finished(job: Job) -> Job:
    """Killed with -9 after its first captions, then given again with the plain command."""
    quickstart = job.quickstart()
    try:
        wait_until("no captions", lambda: list((job.root / "captions").glob("*.json")), 900)
        assert list(started_by(quickstart.pid))
    finally:
        quickstart.kill()
        quickstart.wait()
    wait_until("stages outlive their launcher", lambda: not list(started_by(quickstart.pid)), 90)
    before = job.markers()
    done = job.torchx()
    assert done.returncode == 0, done.stderr
    assert before.items() <= job.markers().items(), "what was committed is made once"
    return job


def test_every_shard_is_there_once_and_whole(finished: Job) -> None:
    storage = Storage(str(finished.root))
    for stage in ("captions", "images"):
        report = check(storage, stage)
        assert (report.good, report.samples, report.bad, report.missing) == (3, 12, {}, [])


def test_the_encoder_is_evaluated_beside_its_baselines(finished: Job) -> None:
    found = results.read(finished.root)
    assert found is not None
    for evaluation in found.values():
        assert set(evaluation["values"]) == {"random_init", "raw_pixels", "synclr"}
        assert evaluation["checkpoint"]["step"] == 4


def test_there_is_a_picture_of_captions_and_images(finished: Job) -> None:
    assert (finished.root / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_the_stock_library_reads_the_shards_as_docs_shards_md_says(finished: Job) -> None:
    (block,) = [block for block in ALL if block.page == "docs/shards.md" and block.language == "python"]
    code = block.code.replace("runs/nano", str(finished.root))
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("c000000000 ")
    assert out.endswith(" (64, 64)\n")


def test_mlflow_has_one_parent_run_with_a_child_per_stage(finished: Job) -> None:
    script = (
        "import json, sys, mlflow\n"
        "client = mlflow.MlflowClient(sys.argv[1])\n"
        "runs = client.search_runs([client.get_experiment_by_name('reverie').experiment_id])\n"
        "print(json.dumps([[run.info.run_name, run.data.tags.get('mlflow.parentRunId'), run.info.run_id, "
        "run.info.status] for run in runs]))"
    )
    out = subprocess.run([sys.executable, "-c", script, finished.mlflow], capture_output=True, text=True, check=True)
    runs = json.loads(out.stdout.splitlines()[-1])
    parents = [run_id for _, parent, run_id, _ in runs if parent is None]
    assert len(parents) == 1
    children = [(name.split()[0], status) for name, parent, _, status in runs if parent == parents[0]]
    stages = ("caption", "evaluation", "image", "pretrain")
    assert sorted(children) == [(stage, "FINISHED") for stage in stages]


def test_the_same_command_again_makes_nothing_again(finished: Job) -> None:
    before = finished.markers()
    done = finished.torchx()
    assert done.returncode == 0, done.stderr
    assert finished.markers() == before


def test_a_stage_that_refuses_ends_the_pipeline_and_is_named(finished: Job) -> None:
    before = finished.markers()
    done = finished.torchx("--caption.seed=7")
    assert done.returncode == 1
    assert "caption/0 ended with exit code 64 (ConfigError): error: root: the captions under " in done.stderr
    assert "caption.seed is 0 there, 7 now" in done.stderr
    assert finished.markers() == before
