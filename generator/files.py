"""Files that a config names: paths of this machine, and `package://NAME/path` for what an installed package ships."""

import hashlib
import re
from importlib.util import find_spec
from pathlib import Path

from config import ConfigError

_PACKAGE = "package://"
_WHOLE = 64 << 20  # bytes of a file that `digest` reads; larger ones (weights) count by their ends


def locate(name: str, field: str) -> Path:
    """The path that `name` means.

    Raises:
        ConfigError: there is no such package, file or folder, naming `field`.
    """
    path = _in_package(name, field) if name.startswith(_PACKAGE) else Path(name).expanduser()
    if not path.exists():
        raise ConfigError(f"{field}: there is no file or folder {path}{'' if str(path) == name else f' ({name})'}")
    return path


def locate_model(name: str, field: str) -> str:
    """A folder as a path, a hub name (`owner/name`, not there as a folder) unchanged.

    Raises:
        ConfigError: neither.
    """
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name) and not Path(name).exists():
        return name
    return str(locate(name, field))


def lines(file: Path, field: str) -> tuple[str, ...]:
    """The lines of a list, stripped, without the empty ones and those that start with #.

    Raises:
        ConfigError: it cannot be read, or nothing is left.
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{field}: {file} cannot be read: {error}") from error
    found = tuple(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))
    if not found:
        raise ConfigError(f"{field}: {file} is empty; write one entry per line")
    return found


def digest(path: Path) -> str:
    """First 16 hex digits of a sha256 over a file, or over a folder's files and their names.

    Of files above 64 MiB only size, first and last MiB are read: hashing a large model takes longer than loading it.
    """
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            total.update(f"{file.relative_to(path)} {file.stat().st_size}\n".encode())
            total.update(_content(file))
    return total.hexdigest()[:16]


def _content(file: Path) -> bytes:
    size = file.stat().st_size
    if size <= _WHOLE:
        return file.read_bytes()
    with file.open("rb") as opened:
        first = opened.read(1 << 20)
        opened.seek(size - (1 << 20))
        return first + opened.read()


def _in_package(name: str, field: str) -> Path:
    package, _, rest = name.removeprefix(_PACKAGE).partition("/")
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"{field}: there is no installed package {package!r} ({name})")
    return Path(next(iter(spec.submodule_search_locations))) / rest
