"""Loading a model: on which device, in which arithmetic, and what to say if it cannot be loaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

from config import ConfigError, RetryableError
from generator.config import Device, Precision

_DTYPES: Final[dict[Precision, torch.dtype]] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def dtype_of(precision: Precision) -> torch.dtype:
    """torch's name of a precision."""
    return _DTYPES[precision]


def native_precision(device: torch.device) -> Precision:
    """bf16 where `device` computes in it (on a CPU two to three times as fast as fp32), fp32 where it would emulate."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported() else "fp32"


def device_of(device: Device, field: str) -> torch.device:
    """The device; `auto` is a GPU if there is one.

    Raises:
        ConfigError: it is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, found in there.items() if found))
    if not there[device]:
        raise ConfigError(f"{field}: there is no {device} device here; use auto or cpu")
    return torch.device(device)


@contextmanager
def loading(name: str, field: str, kind: str) -> Iterator[None]:
    """Turns whatever a library raises while it loads `name` into an error for a person.

    Raises:
        ConfigError: a folder that holds no such model.
        RetryableError: a name on the hub that did not arrive, which may be the network's fault.
    """
    try:
        yield
    except (ConfigError, MemoryError):
        raise
    except Exception as error:  # every library and version has its own classes for "not a model"
        reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no details'}"
        if Path(name).exists():
            raise ConfigError(f"{field}: {name} cannot be loaded as {kind}: {reason}") from error
        raise RetryableError(
            f"{field}: {name} could not be had from the hub: {reason}; check the name and the network, or give a folder"
        ) from error
