"""Which of several replicas leads: the one that holds a Lease (coordination.k8s.io) and renews it.

Clocks of different machines are never compared: a lease has expired when it was not seen to change for its duration, by
the clock of the one who looks. A leader that cannot renew in time stops by itself before another may begin.

`kubernetes.leaderelection` has Leases too, but no way to give one back, so that each rollout waits it out; and an API
server that does not answer ends its thread.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from config import RetryableError
from controller.api import Api, ApiError, Json

_log = logging.getLogger(__name__)

_RENEWS: Final = 5  # times within a lease's duration


class Election:
    """One candidate. `identity` must be nobody else's; `seconds` is the lease's duration."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        identity: str,
        seconds: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api, self._namespace, self._name, self._identity, self._seconds = api, namespace, name, identity, seconds
        self._clock = clock
        self._seen: tuple[str, float] = ("", 0.0)  # resourceVersion, our time when it was new
        self._renewed = 0.0
        self.leading = threading.Event()
        """Set while this one leads."""

    def run(self, stop: threading.Event, before_release: Callable[[], None] = lambda: None) -> bool:
        """Waits until it leads, then renews, until told to stop or until the lease is lost; gives it back in the end.

        Args:
            stop: ends it.
            before_release: what must have ended before another may lead.

        Returns:
            whether it was told to stop. If not, the lease is lost: whoever led must end at once.
        """
        pause = self._seconds / _RENEWS
        while not stop.is_set():
            held = self.attempt()
            if held and not self.leading.is_set():
                _log.info("%s leads", self._identity)
                self.leading.set()
            if self.leading.is_set() and self._clock() - self._renewed > self._seconds * 2 / 3:
                self.leading.clear()
                return False
            stop.wait(pause)
        if self.leading.is_set():
            before_release()
            self.leading.clear()
            self.release()
        return True

    def attempt(self) -> bool:
        """Takes or renews the lease; whether it is ours. False too if the API server does not answer."""
        began = self._clock()
        try:
            held = self._attempt()
        except RetryableError as error:
            _log.warning("lease %s: %s", self._name, error)
            return False
        if held:
            self._renewed = began
        return held

    def release(self) -> None:
        """Gives it back, so that the next leader need not wait."""
        try:
            lease = self._api.get(self._path(self._name))
            if lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1}
                self._api.replace(self._path(self._name), lease)
        except RetryableError as error:
            _log.warning("lease %s is not given back: %s", self._name, error)

    def _attempt(self) -> bool:
        try:
            lease = self._api.get(self._path(self._name))
        except ApiError as error:
            if error.status != 404:
                raise
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self._name}}
            return self._write(lambda: self._api.create(self._path(), {**body, "spec": self._spec({})}))
        if not self._free(lease):
            return False
        lease["spec"] = self._spec(lease.get("spec") or {})
        return self._write(lambda: self._api.replace(self._path(self._name), lease))

    def _free(self, lease: Json) -> bool:
        """Whether it is ours, nobody's, or was not renewed for as long as its holder promised to."""
        version, spec = lease["metadata"]["resourceVersion"], lease.get("spec") or {}
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        holder = spec.get("holderIdentity")
        if holder in (None, "", self._identity):
            return True
        return self._clock() - self._seen[1] > float(spec.get("leaseDurationSeconds", self._seconds))

    def _write(self, write: Callable[[], Json]) -> bool:
        try:
            write()
        except ApiError as error:
            if error.status != 409:
                raise
            return False  # somebody was quicker
        return True

    def _spec(self, before: Json) -> Json:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        ours = before.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._seconds,
            "acquireTime": before.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": before.get("leaseTransitions", 0) + (0 if ours or not before else 1),
        }

    def _path(self, name: str = "") -> str:
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases"
        return f"{leases}/{name}" if name else leases
