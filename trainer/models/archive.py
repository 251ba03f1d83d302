"""The tensors of a TorchScript archive, without running what is in it.

OpenAI published CLIP's weights as such archives: a zip of code, of raw storages, and of a pickle that says which tensor
of which module lies in which storage. `torch.jit.load` compiles and runs that code, and plain unpickling calls whatever
the file names. Here the pickle may name modules (which become bare holders of their parts), tensors and lists, and
nothing else.
"""

import pickle  # only through `_Tensors`, which calls nothing that the file names
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

STORAGES: Final = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


class Refused(pickle.UnpicklingError):
    """The pickle names something that no archive of weights needs."""


def is_archive(file: Path) -> bool:
    """Whether this is a TorchScript archive."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in archive.namelist())


def read_archive(file: Path) -> dict[str, Tensor]:
    """Parameters and buffers by dotted name, as `state_dict` would give them.

    Raises Refused for a file that wants more than that, and zipfile's, pickle's and torch's own errors for a damaged
    one.
    """
    with zipfile.ZipFile(file) as archive:
        folder = next(name for name in archive.namelist() if name.endswith("/constants.pkl")).split("/")[0]
        with archive.open(f"{folder}/data.pkl") as pickled:
            root = _Tensors(pickled, lambda key: archive.read(f"{folder}/data/{key}")).load()
    return dict(_tensors("", root))


class _Module:
    """Holds the parts of a module as attributes."""


class _Tensors(pickle.Unpickler):
    def __init__(self, file: Any, read: Callable[[str], bytes]) -> None:
        super().__init__(file)
        self._read = read

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        known: dict[tuple[str, str], Any] = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuilt,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return list
        if (module, name) not in known:
            raise Refused(f"it names {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count = pid
        data = bytearray(self._read(str(key)))
        storage = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        if len(storage) != count:
            raise pickle.UnpicklingError(f"storage {key} has {len(storage)} numbers instead of {count}")
        return storage


def _rebuilt(storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)


def _tensors(prefix: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield prefix, value
    elif isinstance(value, _Module):
        for name, part in vars(value).items():
            yield from _tensors(f"{prefix}.{name}" if prefix else name, part)
