"""Weights that OpenAI and open_clip published, from a local file into our modules.

Read are OpenAI's TorchScript archives and open_clip's state dicts: `.pt` and `.bin` (a state dict, or a training
checkpoint that has one under "state_dict"), `.safetensors`. No file can run code here: pickles are read with
`weights_only`, archives by models/archive.py.

Weights become float32, as which the networks compute.
"""

import pickle  # its errors' names
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from config import ConfigError, DataError
from trainer.models.archive import Refused, is_archive, read_archive
from trainer.models.clip import ARCHITECTURES, QUICK, ClipModel, architecture

SIZES: Final = ("input_resolution", "context_length", "vocab_size")
"""Numbers among OpenAI's tensors; no other file has them."""
TEXT: Final = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
WRAPPED: Final = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before names."""
_WANTS = re.compile(r"GLOBAL ([\w.]+)")  # how torch tells what a pickle names that is no tensor
SHOWN: Final = 3  # keys of each kind that an error names


def load_clip(name: str, file: str) -> ClipModel:
    """The model of that name with the weights of that file, frozen, in eval mode.

    Raises:
        ConfigError: there is no such name or file; the weights are another model's (says whose they may be).
        DataError: the file cannot be read as weights, or would run code.
    """
    form = architecture(name)
    state = read_weights(file)
    if any(key in state for key in SIZES) and not name.endswith(QUICK):
        raise ConfigError(f"{file!r} holds OpenAI's weights, trained with quick_gelu: take {name}{QUICK}, not {name}")
    state = renamed(state)
    model = ClipModel(form)
    problems = list(_problems(_shapes(model), state))
    if problems:
        fits = _fitting(state)
        remedy = f"they fit {', '.join(fits)}" if fits else f"they fit none of {', '.join(ARCHITECTURES)}"
        raise ConfigError(f"{file!r} does not hold the weights of {name}: {'; '.join(problems)}. By shape {remedy}")
    model.load_state_dict(state, strict=False)  # all that may be missing are BatchNorm's counts, which eval never reads
    return model.eval().requires_grad_(False)


def read_weights(file: str) -> dict[str, Tensor]:
    """The tensors of a file by the names that it gives them.

    Raises:
        ConfigError: there is no such file.
        DataError: it cannot be read as weights.
    """
    path = Path(file)
    if not path.is_file():
        raise ConfigError(f"no file {file!r}: give the path of weights of OpenAI or open_clip on this machine")
    try:
        loaded = _loaded(path)
    except Refused as error:
        raise DataError(
            f"{file!r} would run code: {error}. It is not read; take weights from a source you trust"
        ) from None
    except pickle.UnpicklingError as error:
        raise DataError(_unreadable(path, error)) from None
    except (SafetensorError, zipfile.BadZipFile, OSError, EOFError, RuntimeError, KeyError, ValueError) as error:
        raise DataError(_unreadable(path, error)) from None
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping) or not state:
        raise DataError(f"{file!r} holds no state dict but a {type(state).__name__}: names and tensors are expected")
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise DataError(f"{file!r}: {key!r} is no tensor but a {type(value).__name__}")
    return dict(state)


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """OpenAI's and open_clip's names as ours, floating point as float32."""
    for prefix in WRAPPED:
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    ours = {_name(key): value for key, value in state.items() if key not in SIZES}
    if "logit_scale" in ours:  # some have it as [1]
        ours["logit_scale"] = ours["logit_scale"].reshape(())
    return {key: value.float() if value.is_floating_point() else value for key, value in ours.items()}


def _name(key: str) -> str:
    return f"text.{key}" if key.split(".")[0] in TEXT else key


def _loaded(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    if is_archive(path):
        return read_archive(path)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # about pickles not written by torch.save
        return torch.load(path, map_location="cpu", weights_only=True)


def _unreadable(path: Path, error: Exception) -> str:
    with path.open("rb") as file:
        begin = file.read(64)
    if begin.startswith(b"version https://git-lfs"):
        return f"{str(path)!r} is a Git LFS pointer and no weights: fetch them with `git lfs pull`"
    if begin.lstrip()[:1] == b"<":
        return f"{str(path)!r} is a web page and no weights: download the file itself"
    if wants := _WANTS.search(str(error)):
        return (
            f"{str(path)!r} would run code: it names {wants[1]}. It is not read; save its state dict alone, or take "
            "weights from a source you trust"
        )
    said = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
    return (
        f"{str(path)!r} ({path.stat().st_size} bytes) cannot be read as weights: {said}. Expected are OpenAI's "
        "archive, a state dict of open_clip (.pt, .bin) or .safetensors; if it is one, it is damaged: fetch it again"
    )


def _shapes(model: torch.nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in model.state_dict().items()}


def _problems(wanted: Mapping[str, torch.Size], state: Mapping[str, Tensor]) -> list[str]:
    """What a state dict has wrong, a few keys of each kind."""
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in wanted]
    other = [
        f"{key} is {list(state[key].shape)} instead of {list(shape)}"
        for key, shape in wanted.items()
        if key in state and state[key].shape != shape
    ]
    kinds = {"missing": missing, "not in the model": unknown, "": other}
    return [f"{_some(keys)} {kind}".strip() for kind, keys in kinds.items() if keys]


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + more


def _fitting(state: Mapping[str, Tensor]) -> list[str]:
    found = []
    for name, form in ARCHITECTURES.items():
        with torch.device("meta"):
            shapes = _shapes(ClipModel(form))
        if not _problems(shapes, state):
            found.append(name)
    return found
