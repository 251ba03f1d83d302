"""What every package shares: config sections, the exception tree, the command line, progress."""

from config.errors import (
    ConfigError,
    DataError,
    HangError,
    NotFiniteError,
    RetryableError,
    ReverieError,
    Stopped,
)
from config.section import Section

__all__ = [
    "ConfigError",
    "DataError",
    "HangError",
    "NotFiniteError",
    "RetryableError",
    "ReverieError",
    "Section",
    "Stopped",
]
