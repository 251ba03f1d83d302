"""The command line of a stage, as a person meets it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config import ConfigError
from config.cli import Command, parse, resolve, run
from tests.config.sample import RECIPES, RunConfig, main, nano


def leave(*argv: str) -> int:
    """Run the sample stage and give its exit code."""
    try:
        run(main, RunConfig, RECIPES, argv)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_a_recipe_and_dotted_overrides_make_the_config() -> None:
    config = resolve(RunConfig, RECIPES, ["--recipe", "nano", "--caption.count", "10", "--root=runs/nano"])
    assert (config.caption.count, config.root, config.caption.model) == (10, "runs/nano", "tiny")


def test_a_value_may_begin_with_a_dash() -> None:
    assert parse(["--a.b", "-1", "--c=--d"]) == Command(overrides=(("a.b", "-1"), ("c", "--d")))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "give --recipe NAME or --config FILE, one of them; recipes: nano"),
        (["--recipe", "nano", "--config", "f.yaml"], "one of them"),
        (["--recipe", "nan"], r"--recipe: no recipe nan; did you mean nano\? known: nano"),
        (["--recipe"], "--recipe: needs a value"),
        (["--recipe", "nano", "--root", "--caption.count", "2"], "--root: needs a value"),
        (["nano"], "nano: expected --section.field VALUE"),
        (["--config", "missing.yaml"], "--config missing.yaml: cannot be read"),
    ],
)
def test_a_wrong_command_line_says_what_to_write(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(RunConfig, RECIPES, argv)


def test_print_config_writes_a_file_that_config_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--recipe", "nano", "--caption.model", "1e3", "--print-config") == 0
    file = tmp_path / "run.yaml"
    file.write_text(capsys.readouterr().out)
    config = resolve(RunConfig, RECIPES, ["--config", str(file), "--caption.count", "4"])
    assert (config.caption.model, config.caption.count) == ("1e3", 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "not YAML"),
        ("- 1", r"expected keys and values, got \[1\]"),
        ("caption: {model: 3}", "caption.model: Input should be a valid string, got 3 "),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        resolve(RunConfig, RECIPES, ["--config", str(file)])
    assert str(file) in str(caught.value)


def test_help_shows_each_field_with_its_description_and_the_values_of_the_recipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert leave("--recipe", "nano", "--help") == 0
    text = capsys.readouterr().out
    assert "One run of the sample stage." in text
    assert "  nano\n      Small enough for a test.\n" in text
    assert "  --caption.count int\n      Captions to write. 400 is what a laptop does in a minute. (400)\n" in text
    assert '  --caption.model str\n      Path or name of the model. ("tiny")\n' in text
    assert "--caption.label str|null\n" in text
    assert "--caption.sizes [int, ...]\n" in text
    assert "--objective.temperature float\n" in text


def test_help_without_a_recipe_says_what_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert leave("--help") == 0
    assert "  --caption.model str\n      Path or name of the model. (required)\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "code", "line"),
    [
        (["--caption.count", "3"], 64, "error: caption.count must be even, got 3\n"),
        (["--root", "corrupt"], 65, "error: images/000000-a.tar: corrupt\n"),
        (
            ["--root", "full"],
            75,
            "error: the disk is full: [Errno 28] No space left on device: 'images/000000-a.tar'; ",
        ),
    ],
)
def test_an_error_is_one_line_and_its_exit_code(
    argv: list[str], code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert leave("--recipe", "nano", *argv) == code
    assert capsys.readouterr().err.startswith(line)


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(OSError, match="Input/output error"):
        leave("--recipe", "nano", "--root", "bug")


def test_as_a_module_it_tells_its_own_name() -> None:
    command = [sys.executable, "-m", "tests.config.sample"]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: python -m tests.config.sample (--recipe NAME | --config FILE)")


def test_ctrl_c_ends_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(_: RunConfig) -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        run(interrupted, RunConfig, RECIPES, ["--recipe", "nano"])
    assert (end.value.code, capsys.readouterr().err) == (130, "error: interrupted\n")


def test_importing_the_command_line_needs_no_torch() -> None:
    code = "import sys, config.cli, config.progress; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_a_recipe_gives_the_whole_tree() -> None:
    assert resolve(RunConfig, RECIPES, ["--recipe", "nano"]) == nano()
