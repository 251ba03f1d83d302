"""A container's process sees what its pod says, and nothing else."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.cluster.sandbox import Mount, Sandbox, stop

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root"),
]


def run(sandbox: Sandbox, script: str, folder: Path) -> tuple[int, str]:
    """Exit code and words of a shell script in the sandbox."""
    log = folder / "log"
    process = sandbox.start(["sh", "-c", script], {"PATH": os.environ["PATH"]}, "/", log)
    return process.wait(30), log.read_text()


def test_its_hostname_is_its_own(tmp_path: Path) -> None:
    assert run(Sandbox("pod-0"), "hostname", tmp_path) == (0, "pod-0\n")
    assert os.uname().nodename != "pod-0"


def test_it_is_the_first_process_of_a_tree_of_its_own(tmp_path: Path) -> None:
    assert run(Sandbox("pod-0"), "echo $$", tmp_path) == (0, "1\n")


def test_a_volume_is_where_it_is_mounted(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    sandbox = Sandbox("pod-0", [Mount(volume, "/mnt/data")])
    assert run(sandbox, "echo hello > /mnt/data/here", tmp_path)[0] == 0
    assert (volume / "here").read_text() == "hello\n"
    assert not Path("/mnt/data/here").exists()


def test_a_volume_over_the_folder_of_the_others_hides_none(tmp_path: Path) -> None:
    """As /tmp in a pod whose token is mounted, too."""
    for name in ("scratch", "token"):
        (tmp_path / name).mkdir()
    (tmp_path / "token" / "token").write_text("secret\n")
    mounts = [Mount(tmp_path / "scratch", str(tmp_path)), Mount(tmp_path / "token", "/mnt/token", read_only=True)]
    assert run(Sandbox("pod-0", mounts), "cat /mnt/token/token", tmp_path.parent)[0] == 0


def test_a_read_only_root_takes_writes_to_volumes_alone(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    sandbox = Sandbox("pod-0", [Mount(volume, "/tmp")], read_only=True)
    code, said = run(sandbox, "echo a > /tmp/a && echo b > /usr/b", tmp_path)
    assert (code, (volume / "a").exists()) == (2, True)
    assert "Read-only file system" in said


def test_a_read_only_volume_refuses(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    code, said = run(Sandbox("pod-0", [Mount(volume, "/mnt/data", read_only=True)]), "touch /mnt/data/x", tmp_path)
    assert (code, "Read-only" in said) == (1, True)


def test_its_user_has_no_rights(tmp_path: Path) -> None:
    said = run(Sandbox("pod-0", user=10001, group=10002), "id -u; id -g; grep CapEff /proc/self/status", tmp_path)
    assert said == (0, "10001\n10002\nCapEff:\t0000000000000000\n")


def test_its_user_sees_of_root_s_folder_what_is_shown(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("shown", "secret"):
            (Path(folder) / "root" / name).mkdir(parents=True)
        Path(folder).chmod(0o755)
        sandbox = Sandbox("pod-0", user=10001, group=10001, hidden=[f"{folder}/root"], shown=[f"{folder}/root/shown"])
        assert run(sandbox, f"ls {folder}/root", tmp_path) == (0, "shown\n")


def test_stopping_asks_first(tmp_path: Path) -> None:
    code = "import signal,sys,time\nsignal.signal(15, lambda *_: sys.exit(143))\nprint('up',flush=True)\ntime.sleep(60)"
    process = Sandbox("pod-0").start([sys.executable, "-c", code], dict(os.environ), "/", tmp_path / "log")
    _until_said(tmp_path / "log", "up")
    stop(process, grace=10)
    assert process.returncode == 143


def test_what_does_not_listen_is_killed_with_all_it_started(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 1234.5 & echo up; wait; sleep 1234.5"
    process = Sandbox("pod-0").start(["sh", "-c", script], dict(os.environ), "/", tmp_path / "log")
    _until_said(tmp_path / "log", "up")
    stop(process, grace=0.5)
    assert process.returncode in (-signal.SIGKILL, 137)
    assert subprocess.run(["pgrep", "-f", "sleep 1234.5"], stdout=subprocess.DEVNULL).returncode == 1


def _until_said(log: Path, word: str) -> None:
    end = time.monotonic() + 20
    while word not in log.read_text():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
