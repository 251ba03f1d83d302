"""What a failed storage call means: try again, or never; and how a person is told."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from config.errors import ConfigError, RetryableError, ReverieError

_FULL = {errno.ENOSPC: "no space left", errno.EDQUOT: "disk quota exceeded", errno.EFBIG: "file size limit reached"}
_WRONG_PLACE = (errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
# Answers, errors that are told already, and bugs.
_AS_IT_IS = (FileNotFoundError, FileExistsError, ReverieError, AssertionError, AttributeError, NameError, TypeError)
# Each driver has its own class for "no credentials"; none of them is an OSError, and repeating cannot help.
_NO_ACCESS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "DefaultCredentialsError",
    "ClientAuthenticationError",
)


@dataclass(frozen=True)
class Retry:
    """How often a call to a remote store is made, and how long to wait between: `first` seconds, doubling up to
    `most`, times a random factor in [0.5, 1] so that a thousand workers do not come back at once.

    The default waits about 20 to 40 s in all, on top of what the drivers wait themselves.
    """

    tries: int = 7
    first: float = 0.5
    most: float = 15.0

    def pause(self, failures: int, chance: Callable[[], float] = random.random) -> float:
        """Seconds to wait after that many failures in a row."""
        return min(self.first * 2.0 ** (failures - 1), self.most) * (0.5 + 0.5 * chance())


DEFAULT_RETRY = Retry()


def is_final(error: Exception) -> bool:
    """Whether the same call can only fail the same way again."""
    if isinstance(error, (*_AS_IT_IS, PermissionError)):
        return True
    if isinstance(error, OSError) and error.errno in _FULL:
        return True  # the local disk of an upload or download; waiting seconds frees nothing
    return type(error).__name__ in _NO_ACCESS


def worded(error: Exception, action: str, place: str) -> Exception:
    """The error to raise for a person: what failed, where, and what to do."""
    if isinstance(error, _AS_IT_IS):
        return error
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL:
        return RetryableError(
            f"cannot {action} {place}: {_FULL[number]} on the device; nothing half-written is left. "
            "Free space, or move the root (or TMPDIR) to a larger disk, then run the same command again"
        )
    if isinstance(error, PermissionError) or type(error).__name__ in _NO_ACCESS:
        return ConfigError(f"cannot {action} {place}: access refused ({error}); check the credentials and their rights")
    if number in _WRONG_PLACE:
        return ConfigError(f"cannot {action} {place}: {error}; correct the root")
    return RetryableError(
        f"cannot {action} {place}: {type(error).__name__}: {error}; "
        "the storage or the network failed, the same command continues where this one stopped"
    )


@contextmanager
def in_words(action: str, place: str) -> Iterator[None]:
    """Errors that leave the block come out as `worded` says."""
    try:
        yield
    except Exception as error:
        told = worded(error, action, place)
        if told is error:
            raise
        raise told from error
