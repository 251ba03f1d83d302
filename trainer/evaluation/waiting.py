"""Waiting for what another stage still makes: evaluation may be started together with pretraining."""

import sys
import time
from collections.abc import Callable
from typing import Final, TypeVar

from config import DataError, RetryableError

T = TypeVar("T")
POLL: Final = 2.0  # seconds before the second look; a twentieth of the time waited so far, once that is longer
LONGEST_POLL: Final = 15.0
SAY: Final = 15.0  # seconds between two lines in the log


class NotYet(DataError):
    """Something is missing that another command makes. The message says what is there, and names the command."""


def until(
    look: Callable[[], T],
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
    say: Callable[[str], object] = lambda line: print(line, file=sys.stderr, flush=True),
) -> T:
    """What `look` returns, as soon as it no longer raises NotYet.

    Raises:
        NotYet: at once, if `seconds` is 0.
        RetryableError: after `seconds` without success, with the last message.
    """
    started = said = clock()
    while True:
        try:
            return look()
        except NotYet as missing:
            now = clock()
            if not seconds:
                raise
            if now - started >= seconds:
                raise RetryableError(f"waited {seconds:g} s (wait): {missing}") from missing
            if now == started or now - said >= SAY:
                say(f"evaluation  waiting for {missing}")
                said = now
        sleep(min(max(POLL, (now - started) / 20), LONGEST_POLL, seconds))
