"""The command that looks after shards: `python -m shards`."""

import pytest

from config import DataError
from config.cli import resolve, run
from shards import Storage
from shards.__main__ import RECIPES, UpkeepConfig, main
from tests.shards.scenes import commit_images


def test_a_sound_root_is_reported(local: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    commit_images(local, units=1)
    run(main, UpkeepConfig, RECIPES, ["--recipe", "check", "--root", local.root])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("captions: 0 shards good")
    assert lines[1].startswith("images: 1 shards good (12 samples, ")


def test_bad_shards_end_with_the_code_for_wrong_data(local: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    marker = commit_images(local)
    local.delete(marker.object_path)
    with pytest.raises(SystemExit) as ended:
        run(main, UpkeepConfig, RECIPES, ["--recipe", "check", "--root", local.root])
    assert ended.value.code == DataError.exit_code
    assert "the object is missing" in capsys.readouterr().out


def test_a_sweep_names_what_it_removed(local: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    commit_images(local)
    local.create("images/000000-dead.tar", b"")
    run(main, UpkeepConfig, RECIPES, ["--recipe", "sweep", "--root", local.root])
    assert "images: 1 removed\nimages/000000-dead.tar" in capsys.readouterr().out


def test_a_forgotten_root_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert resolve(UpkeepConfig, RECIPES, ["--recipe", "sweep"]).root == ""
    with pytest.raises(SystemExit) as ended:
        run(main, UpkeepConfig, RECIPES, ["--recipe", "sweep"])
    assert ended.value.code == 64
    assert "root: is empty" in capsys.readouterr().err
