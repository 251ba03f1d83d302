"""torchrun's exit code says why a worker ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.launch import exit_code, meeting


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([64], 64),
        ([1], 1),
        ([1, 65], 65),
        ([75, 1], 1),  # the first one only lost its peer
        ([75, -signal.SIGKILL], 137),
        ([75, 75], 75),
        ([77, 65], 77),
        ([-signal.SIGKILL], 137),  # as a shell says it
        ([-signal.SIGTERM, 75], 75),
    ],
)
def test_the_code_is_the_one_that_says_why(codes: list[int], expected: int) -> None:
    assert exit_code(codes) == expected


def launch(script: Path, workers: int) -> list[str]:
    flags = ["--standalone", "--local-addr", "localhost", "--nproc-per-node", str(workers)]
    return [sys.executable, "-m", "trainer.launch", *flags, str(script)]


def test_a_workers_code_comes_through_torchrun(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text("import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(65)\ntime.sleep(60)\n")
    assert subprocess.run(launch(script, 2), timeout=100).returncode == 65


def test_a_workers_flag_is_no_abbreviation_of_torchruns(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text("import sys\nsys.exit(65 if sys.argv[1:] == ['--run', 'a', '--log=b'] else 64)\n")
    assert subprocess.run([*launch(script, 1), "--run", "a", "--log=b"], timeout=100).returncode == 65


def test_sigterm_reaches_the_workers_and_ends_as_stopped(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        "import pathlib, signal, sys, time\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "def stop(*_):\n    (here / 'saved').touch()\n    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "(here / 'up').touch()\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(launch(script, 1)) as torchrun:
        wait_for(tmp_path / "up")
        torchrun.send_signal(signal.SIGTERM)
        assert torchrun.wait(timeout=60) == 143
    assert (tmp_path / "saved").exists()


def test_sigterm_ends_a_launcher_that_waits_for_its_peers(tmp_path: Path) -> None:
    """The pod that holds the rendezvous has no name yet."""
    flags = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", "nobody.invalid:29500", "worker.py"]
    said = tmp_path / "said"
    with said.open("wb") as out:
        command = [sys.executable, "-m", "trainer.launch", *flags]
        torchrun = subprocess.Popen(command, stderr=out, env=os.environ | {"VC_TASK_INDEX": "1"})
    try:
        while b"nobody.invalid" not in said.read_bytes():  # torch's own words, from inside its wait
            assert torchrun.poll() is None
            time.sleep(0.1)
        torchrun.send_signal(signal.SIGTERM)
        assert torchrun.wait(timeout=20) == 143
    finally:
        torchrun.kill()
        torchrun.wait()


def test_the_first_pod_of_a_gang_holds_the_rendezvous() -> None:
    assert meeting({"VC_TASK_INDEX": "0"}).endswith(",is_host=1")
    assert meeting({"VC_TASK_INDEX": "12"}).endswith(",is_host=0")
    assert "is_host" not in meeting({})


@pytest.mark.slow
def test_a_gang_meets_again_when_another_node_was_asked_to_stop(tmp_path: Path) -> None:
    """The worker ends with 143 although its launcher got no signal; the second time it finishes."""
    script = tmp_path / "worker.py"
    script.write_text(
        "import pathlib, sys\n"
        f"first = pathlib.Path({str(tmp_path / 'first')!r})\n"
        "again = first.exists()\nfirst.touch()\nsys.exit(0 if again else 143)\n"
    )
    assert subprocess.run(launch(script, 1), timeout=200).returncode == 143
    (tmp_path / "first").unlink()
    again = {**os.environ, "REVERIE_REJOIN": "1", "VC_TASK_INDEX": "0"}
    assert subprocess.run(launch(script, 1), env=again, timeout=200).returncode == 0


def test_workers_know_whom_they_must_not_outlive(tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(
        f"import os\nassert os.environ['REVERIE_LIFELINE'] == str(os.getppid())\nprint({os.getpid()} != os.getppid())\n"
    )
    assert subprocess.run(launch(script, 1), timeout=100).returncode == 0


def wait_for(path: Path) -> None:
    until = time.monotonic() + 90
    while not path.exists():
        assert time.monotonic() < until, f"no {path}"
        time.sleep(0.05)
