"""Every error a person is meant to read, and the code the process ends with.

    Exception
    └── ReverieError            1   never raised itself
        ├── ConfigError        64   the config is wrong: the same command can never work
        ├── DataError          65   the data is wrong: a corrupt tar, a missing caption, a bad marker
        ├── RetryableError     75   storage, network, a full disk: the same command may work later
        ├── HangError          76   the watchdog saw no progress
        ├── NotFiniteError     77   the loss stopped being a number and rolling back did not help
        └── Stopped           143   asked to stop, and everything is saved: not a failure

The controller, the Volcano policies and the tests read these numbers, and they are the same everywhere. A message says
what is wrong, where (the file, the field, the value) and what to do. Anything else that escapes a stage is a bug: it
ends with a traceback and code 1.
"""

from typing import ClassVar


class ReverieError(Exception):
    """Base of the errors above. `exit_code` is what the process ends with."""

    exit_code: ClassVar[int] = 1


class ConfigError(ReverieError):
    """The config is wrong. Never retried."""

    exit_code = 64


class DataError(ReverieError):
    """The data is wrong. Never retried."""

    exit_code = 65


class RetryableError(ReverieError):
    """Storage, network or disk failed after the retries that made sense inside the process."""

    exit_code = 75


class HangError(ReverieError):
    """No step finished within the watchdog's limit."""

    exit_code = 76


class NotFiniteError(ReverieError):
    """The loss was not finite, and the run was rolled back as often as the config allows."""

    exit_code = 77


class Stopped(ReverieError):
    """Stopped on request (preemption, suspension) after saving. 143 is what a process ended by SIGTERM gives."""

    exit_code = 143
