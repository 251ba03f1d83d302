"""What the stages say of their progress: their pods are asked, now and then, by the one who leads.

One pod per stage and round, whatever the replicas: all count the same markers. One that refuses is passed over for
another; what was said last stands until somebody says more.

A stage whose packets are dropped, as by a network policy, costs a wait each time. It is asked after all others, one pod
at a time, and less often until one answers; so a thousand such stages hold nobody up.
"""

import http.client
import logging
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import Field, ValidationError

from config.report import HANG_PATH, PATH
from controller.api import Json
from controller.observed import Report
from controller.render import ATTEMPT, PROGRESS_PORT, REPORTING, STAGE
from controller.spares import SPARE
from controller.status import Answer, StageName
from torchx_plugins.volcano.status import TASK

_TRIES: Final = 3  # pods of a stage that are asked in one round
_REACHED: Final = 1.0  # seconds to be reached; within a cluster that takes milliseconds
_PATIENCE: Final = 2.0  # seconds for an answer
_LARGEST: Final = 65_536  # bytes of an answer
_ASKING: Final = 32  # at once
_SILENT: Final = 3  # every so many rounds a stage that was silent is asked

_log = logging.getLogger(__name__)

Ask = Callable[[str], bytes]


class _Said(Answer):
    """An answer of a pod. It is a pod of the user's image, so it is looked at before it is believed."""

    done: int = Field(ge=0, lt=2**53)
    """Captions, images or steps."""
    rate: float | None = Field(None, ge=0, lt=1e12)
    """Of them, per second."""
    shards: int = Field(0, ge=0, lt=2**53)
    """Committed units."""
    step: float | None = Field(None, ge=0, lt=1e9)
    """Median time between two advances of `done`, seconds."""
    age: float = Field(0.0, ge=0, lt=1e9)
    """Since the last one, seconds."""
    save: float | None = Field(None, ge=0, lt=1e9)
    """What the last checkpoint took, seconds."""
    recorded: str = Field("", pattern=r"^(experiments/\d{1,20}/runs/[0-9a-f]{32})?$")
    """Path of the run in MLflow's pages."""


def ask(address: str, port: int = PROGRESS_PORT) -> bytes:
    """What a pod answers. Raises TimeoutError if it is not reached, another OSError if it does not answer."""
    return _request("GET", address, port, PATH)


def tell_hung(address: str) -> bytes:
    """Tells a pod that it hangs. Raises OSError if it does not hear, or says that it does not."""
    _request("POST", address, PROGRESS_PORT, HANG_PATH)
    return b""


def _request(method: str, address: str, port: int, path: str) -> bytes:
    """To a pod itself: by no proxy of the environment, and to nowhere that its answer may point to."""
    connection = http.client.HTTPConnection(address, port, timeout=_REACHED)
    try:
        connection.connect()
        connection.sock.settimeout(_PATIENCE)
        connection.request(method, path)
        try:
            answer = connection.getresponse()
        except TimeoutError as error:
            raise OSError(f"it was reached, and did not answer within {_PATIENCE:g} s") from error
        if not 200 <= answer.status < 300:
            raise OSError(f"HTTP {answer.status}")
        return answer.read(_LARGEST)
    except http.client.HTTPException as error:
        raise OSError(f"no HTTP: {error}") from error
    finally:
        connection.close()


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Pods:
    """Those of a stage that may be asked."""

    attempt: int
    pods: list[str]
    """Their addresses."""


class Reports:
    """The last report of each stage of each resource. `changed` is told the key of a resource that has a new one."""

    def __init__(
        self,
        keys: Callable[[], Iterable[str]],
        pods: Callable[[str], Iterable[Json]],
        changed: Callable[[str], None],
        ask: Ask = ask,
        tell_hung: Ask = tell_hung,
        clock: Callable[[], datetime] = _now,
        took: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._keys, self._pods, self._changed, self._ask = keys, pods, changed, ask
        self._tell_hung, self._clock, self._took = tell_hung, clock, took
        self._said: dict[str, dict[StageName, Report]] = {}
        self._silent: dict[tuple[str, StageName], int] = {}  # the round in which it was
        self._rounds = 0

    def get(self, key: str) -> Mapping[StageName, Report]:
        """Of a resource."""
        return dict(self._said.get(key, {}))

    def run(self, seconds: float, stop: threading.Event) -> None:
        """A round every so many seconds, until told to stop."""
        while not stop.wait(seconds):
            began = time.monotonic()
            self.round()
            self._took(time.monotonic() - began)

    def round(self) -> None:
        """Asks one pod of each stage that runs."""
        self._rounds += 1
        keys = list(self._keys())
        for gone in self._said.keys() - set(keys):
            del self._said[gone]
        found: dict[tuple[str, StageName], Pods]
        found = {(key, stage): pods for key in keys for stage, pods in addresses(self._pods(key)).items()}
        self._silent = {one: since for one, since in self._silent.items() if one in found}
        due = [one for one in found if self._rounds >= self._silent.get(one, -_SILENT) + _SILENT]
        due.sort(key=self._silent.__contains__)
        with ThreadPoolExecutor(_ASKING, "ask") as pool:
            for _ in pool.map(lambda one: self._ask_stage(one[0], one[1], found[one]), due):
                pass  # raises what a bug raises

    def _ask_stage(self, key: str, stage: StageName, found: Pods) -> None:
        """Told at once, whoever else is still to answer."""
        try:
            report = self._first(found, 1 if (key, stage) in self._silent else _TRIES)
        except TimeoutError:
            self._silent[key, stage] = self._rounds
            return
        self._silent.pop((key, stage), None)
        if report is not None:
            said = self._said.setdefault(key, {})
            news = said.get(stage) != report
            said[stage] = report
            if news:
                self._changed(key)

    def end_hung(self, key: str, stage: StageName) -> None:
        """Tells every pod of a stage that it hangs. Those that do not hear are ended otherwise."""
        found = addresses(self._pods(key)).get(stage)
        with ThreadPoolExecutor(_ASKING, "tell") as pool:
            for address, heard in zip(found.pods, pool.map(self._hears, found.pods), strict=True) if found else ():
                _log.info("%s: %s at %s is told that it hangs: %s", key, stage, address, heard)

    def _hears(self, address: str) -> str:
        try:
            self._tell_hung(address)
        except OSError as error:
            return str(error)
        return "it writes its stacks and ends"

    def _first(self, found: Pods, tries: int) -> Report | None:
        """What the first of some pods says that says something. Raises TimeoutError if none of them is reached."""
        reached = False
        for address in random.sample(found.pods, min(len(found.pods), tries)):
            try:
                said = _Said.model_validate_json(self._ask(address))
            except TimeoutError:
                continue
            except (OSError, ValidationError):
                reached = True
                continue
            rate, step, save = _rounded(said.rate), _rounded(said.step), _rounded(said.save)
            told = (rate, step, found.attempt, said.age, self._clock(), save, said.recorded)
            return Report(said.done, said.shards, *told)
        if not reached:
            raise TimeoutError("no pod is reached")
        return None


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.3g}")


def addresses(pods: Iterable[Json]) -> dict[StageName, Pods]:
    """Where the running pods of each stage that reports are: those of its newest attempt."""
    found: dict[StageName, Pods] = {}
    for pod in pods:
        status, labels = pod["status"], pod["metadata"].get("labels", {})
        address = status.get("podIP") if status.get("phase") == "Running" else None
        stage = next((one for one in REPORTING if one == labels.get(STAGE)), None)
        if stage and address and labels.get(TASK) != SPARE:  # those have nothing to tell
            attempt = int(labels.get(ATTEMPT, "0"))
            if stage not in found or attempt > found[stage].attempt:
                found[stage] = Pods(attempt, [])
            if attempt == found[stage].attempt:
                found[stage].pods.append(address)
    return found
