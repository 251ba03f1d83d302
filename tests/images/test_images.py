"""The images hold what their stages need, and nothing of a checkout.

No container is built: what `images/Dockerfile` installs is installed into a folder by the same commands, and a tiny run
goes through these environments from a folder that is not the checkout. `make images` builds them.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import yaml

from components.roles import default_image
from tests.cluster.pod import image_name
from tests.integration.test_pipeline import TINY

ROOT: Final = Path(__file__).parents[2]
DOCKERFILE: Final = (ROOT / "images" / "Dockerfile").read_text()
STAGES: Final = dict(re.findall(r"^FROM \S+ AS (\S+)\n((?:(?!FROM).*\n)*)", DOCKERFILE, re.MULTILINE))
"""Instructions of each stage of the file."""
KEYS: Final = ("caption", "image", "lease", "schedule", "batch", "checkpoint", "knn", "linear_probe")
"""Sections of the config that are made small."""
OWN: Final = ROOT / ".uv" / "bin" / "uv"  # there if the machine's is missing or too old
UV: Final = str(OWN) if OWN.exists() else "uv"


def syncs(image: str) -> list[str]:
    """The command that installs an image's dependencies."""
    command = re.search(r"(uv sync .*)", STAGES[f"with-{image}"])
    assert command
    return [UV, *shlex.split(command[1])[1:]]


@dataclass(frozen=True)
class Installed:
    """An image's environment."""

    folder: Path

    def python(self, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        env = {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "HOME": str(cwd), "OMP_NUM_THREADS": "1"}
        return subprocess.run(["python", *words], cwd=cwd, env=env, capture_output=True, text=True)

    def does(self, *words: str, cwd: Path) -> str:
        """What it said, if that went well."""
        done = self.python(*words, cwd=cwd)
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Installed]:
    """Makes the environment of an image, with the project as a wheel."""
    wheels = tmp_path_factory.mktemp("wheel")
    subprocess.run([UV, "build", "--quiet", "--wheel", "--out-dir", str(wheels)], cwd=ROOT, check=True)
    (wheel,) = wheels.glob("*.whl")

    def make(image: str) -> Installed:
        folder = tmp_path_factory.mktemp(image)
        env = os.environ | {"UV_PROJECT_ENVIRONMENT": str(folder), "UV_NO_DEV": "1"}
        subprocess.run([*syncs(image), "--quiet"], cwd=ROOT, env=env, check=True)
        subprocess.run([UV, "pip", "install", "--quiet", "--no-deps", "--python", str(folder), str(wheel)], check=True)
        return Installed(folder)

    return make


def test_there_is_one_for_each_that_pods_ask_for() -> None:
    values = yaml.safe_load((ROOT / "helm" / "reverie" / "values.yaml").read_text())
    stages = ("caption", "image", "pretrain", "evaluate", "render")
    asked = {image_name(default_image(stage)) for stage in stages}
    asked.add(image_name(values["controller"]["image"]["repository"]))
    assert {name.removeprefix("with-") for name in STAGES if name.startswith("with-")} == asked
    assert asked < set(STAGES)


@pytest.mark.parametrize("image", ["captioner", "generator", "trainer", "controller"])
def test_it_runs_as_the_user_that_pods_have(image: str) -> None:
    user = [line for line in STAGES[image].splitlines() if line.startswith("USER")]
    assert user == ["USER 10001:10001"]


def test_the_lock_file_has_what_the_captioner_installs() -> None:
    """vLLM for GPUs is gigabytes: it is resolved, not fetched."""
    done = subprocess.run([*syncs("captioner"), "--dry-run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^ \+ vllm==", done.stderr, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_tiny_run_goes_through_the_generator_and_the_trainer(
    installed: Callable[[str], Installed], tmp_path: Path
) -> None:
    generator, trainer = installed("generator"), installed("trainer")
    run = ("--recipe", "nano", "--root", f"file://{tmp_path}/run", "--tracking.uri", f"sqlite:///{tmp_path}/mlflow.db")
    data = ("--data", f"file://{tmp_path}/labelled")
    sizes = {name: [flag for flag in TINY if flag.startswith(f"--{name}.")] for name in KEYS}
    few = sizes["caption"] + sizes["image"] + sizes["lease"]
    short = sizes["schedule"] + sizes["batch"] + sizes["checkpoint"]
    two = ("--standalone", "--local-addr", "localhost", "--nproc-per-node", "2")
    generator.does("-m", "nano.renders", "--recipe", "nano", "--train", "48", "--test", "24", *data, cwd=tmp_path)
    generator.does("-m", "generator.caption", *run, *few, cwd=tmp_path)
    generator.does("-m", "generator.image", *run, *few, cwd=tmp_path)
    trainer.does("-m", "trainer.launch", *two, "-m", "trainer.pretrain", *run, *short, cwd=tmp_path)
    trainer.does("-m", "trainer.evaluate", *run, *data, *sizes["knn"], *sizes["linear_probe"], cwd=tmp_path)
    assert (tmp_path / "run" / "evaluations" / "synclr-nano" / "knn.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_controller_has_no_torch_and_starts(installed: Callable[[str], Installed], tmp_path: Path) -> None:
    """Without a cluster it says so, in a line."""
    controller = installed("controller")
    for heavy in ("torch", "transformers", "s3fs"):
        assert controller.python("-c", f"import {heavy}", cwd=tmp_path).returncode != 0
    controller.does("-c", "import controller.render, controller.loop", cwd=tmp_path)
    done = controller.python("-m", "controller", "--recipe", "default", cwd=tmp_path)
    assert done.returncode == 64
    assert "Traceback" not in done.stderr
