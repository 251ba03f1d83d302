"""The controller: whatever changes puts a key into the queue, and each key is observed, decided and applied.

    informers ──key──▶ queue ──▶ workers: observe ─▶ reconcile (pure) ─▶ apply

What changed is forgotten on the way: a worker looks at all there is about the key. So a change that was missed is made
up for by the next one, or by the look at everything now and then.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from pydantic import ValidationError

from config import RetryableError
from controller.actions import EndHung, Wait
from controller.api import Api, ApiError, Json
from controller.apply import apply, jobs_path, runs_path
from controller.config import ControllerConfig
from controller.informer import Informer
from controller.metrics import Metrics
from controller.observe import key_of, observe, run_of, trim_job, trim_pod, trim_run
from controller.progress import Ask, Reports, ask
from controller.queue import WorkQueue
from controller.reconcile import reconcile
from controller.render import RUN

_log = logging.getLogger(__name__)


def now() -> datetime:
    """The time as statuses hold it: whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


class Controller:
    """Serves the resources of a namespace, or of all. `ask` gives what a pod at an address says of its progress."""

    def __init__(
        self,
        api: Api,
        config: ControllerConfig,
        identity: str,
        metrics: Metrics,
        *,
        ask: Ask = ask,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._api, self._config, self._identity, self._clock = api, config, identity, clock
        self._replaced: dict[str, str] = {}  # resourceVersion that was the newest before our last write, by key
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        waited = metrics.histogram("reverie_queue_seconds", "Time from a change until somebody looks at it.")
        self.queue: WorkQueue[str] = WorkQueue(waited=waited)
        self.runs = Informer(api, runs_path(config.namespace), key=key_of, changed=self.queue.add, trim=trim_run)
        of_runs = partial(Informer, api, key=run_of, changed=self.queue.add, selector=RUN)
        self.jobs = of_runs(jobs_path(config.namespace), trim=trim_job)
        pods = f"/api/v1/namespaces/{config.namespace}/pods" if config.namespace else "/api/v1/pods"
        self.pods = of_runs(pods, trim=trim_pod)
        took = metrics.histogram("reverie_poll_seconds", "Time in which all stages that run were asked once.")
        self.reports = Reports(lambda: self.runs.keys(), self.pods.get, self.queue.add, ask, clock=clock, took=took)
        self._count(metrics)

    def _count(self, metrics: Metrics) -> None:
        self._seconds = metrics.histogram("reverie_reconcile_seconds", "Time of one look at one resource.")
        self._done = metrics.counter("reverie_reconcile_total", "Looks at a resource, by result.")
        self._acted = metrics.counter("reverie_actions_total", "What was done, by kind.")
        metrics.gauge("reverie_queue_length", "Resources that wait to be looked at.", lambda: len(self.queue))
        metrics.gauge("reverie_resources", "Resources there are.", lambda: len(self.runs.keys()))

    @property
    def informers(self) -> tuple[Informer, ...]:
        """All that it watches."""
        return (self.runs, self.jobs, self.pods)

    @property
    def synced(self) -> bool:
        """Whether everything was listed once, so that what is absent is absent."""
        return all(one.synced.is_set() for one in self.informers)

    def watch(self) -> None:
        """Starts to watch. A replica that does not lead does that too, and so takes over at once."""
        for informer in self.informers:
            informer.start()

    def work(self) -> None:
        """Starts to decide and act, once everything was listed; returns at once if it is stopped before that."""
        while not self.synced:
            if self._stop.wait(0.05):
                return
        work = [threading.Thread(target=self._worker, name=f"worker {n}") for n in range(self._config.workers)]
        poll = threading.Thread(target=self.reports.run, args=(self._config.poll_seconds, self._stop), name="reports")
        self._threads = [*work, poll, threading.Thread(target=self._resync, name="resync")]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends it; what is being done is finished first."""
        self._stop.set()
        self.queue.close()
        for informer in self.informers:
            informer.stop()
        for thread in self._threads:
            thread.join()

    def _resync(self) -> None:
        while True:
            for key in self.runs.keys():  # noqa: SIM118 - no dict
                self.queue.add(key)
            if self._stop.wait(self._config.resync_seconds):
                return

    def _worker(self) -> None:
        while (key := self.queue.get()) is not None:
            began = time.monotonic()
            try:
                result = self._guarded(key)
            finally:
                self.queue.done(key)
            self._done(result=result)
            self._seconds(time.monotonic() - began)

    def _guarded(self, key: str) -> str:
        """One look; a failure of one resource is no failure of the others."""
        try:
            self.look(key)
        except ApiError as error:
            # A conflict is old news: the watch brings the new ones in a moment.
            conflict = error.status == 409
            _log.log(logging.DEBUG if conflict else logging.WARNING, "%s: %s", key, error)
            self.queue.retry(key)
            return "conflict" if conflict else "refused"
        except RetryableError as error:
            _log.warning("%s: %s", key, error)
            self.queue.retry(key)
            return "unreachable"
        except Exception:  # noqa: BLE001 - a bug that one resource brings out must not stop the others
            _log.exception("%s", key)
            self.queue.retry(key)
            return "bug"
        self.queue.forget(key)
        return "done"

    def look(self, key: str) -> None:
        """Observes, decides and acts, once.

        Raises:
            RetryableError: the API server refuses, or does not answer.
        """
        found = self.runs.get(key)
        if not found:
            self._replaced.pop(key, None)
            return  # gone, and its jobs with it
        (reverie,) = found
        if self._replaced.get(key) == reverie["metadata"]["resourceVersion"]:
            return  # a write on old news would be refused; what we wrote is about to come, and with it the next look
        try:
            observed = observe(reverie, self.jobs.get(key), self.pods.get(key), self.reports.get(key))
        except ValidationError as error:
            _log.error("%s: its status cannot be read, so nothing is done: %s", key, error)
            return
        for action in reconcile(observed, self._clock()):
            if isinstance(action, Wait):
                self.queue.add_after(key, action.seconds)
                continue
            if isinstance(action, EndHung):
                self.reports.end_hung(key, action.stage)
            else:
                self._remember(key, reverie, apply(self._api, reverie, action, self._identity))
            self._acted(kind=type(action).__name__)

    def _remember(self, key: str, before: Json, written: Json | None) -> None:
        """What we wrote makes what we have old, unless it changed nothing: then nothing will come."""
        old = before["metadata"]["resourceVersion"]
        if written is not None and written["metadata"]["resourceVersion"] != old:
            self._replaced[key] = old
