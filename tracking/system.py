"""Load of this machine beside a stage's metrics, under MLflow's own names: its UI has a page for `system/...`.

MLflow's monitor ends at its first error and writes nothing in runs shorter than its interval. This one only reads the
same sensors; what it reads goes the buffered way of all metrics.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from tracking.writer import Point


class SystemMetrics:
    """Samples the sensors every `seconds` on a thread, and once at the end."""

    def __init__(self, add: Callable[[Sequence[Point]], None], seconds: float) -> None:
        self._add = add
        self._seconds = seconds
        self._stop = threading.Event()
        self._sensors = _sensors()
        self._thread = threading.Thread(target=self._loop, name="tracking-system", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Takes a last sample and ends."""
        self._stop.set()
        self._thread.join(5)

    def _loop(self) -> None:
        self.sample()  # load is the mean since the last reading: the first one looks back on nothing
        while not self._stop.wait(self._seconds):
            self._add(self.sample())
        self._add(self.sample())

    def sample(self) -> list[Point]:
        """One reading of every sensor that works; a driver that stops answering costs its values, nothing else."""
        now = int(time.time() * 1000)
        values: dict[str, float] = {}
        for sensor in self._sensors:
            with suppress(Exception):
                sensor.collect_metrics()
                values |= sensor.aggregate_metrics()
                sensor.clear_metrics()
        return [Point(f"system/{key}", float(value), now, None) for key, value in values.items()]


def _sensors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    from mlflow.system_metrics.metrics.rocm_monitor import ROCMMonitor

    sensors: list[Any] = []
    for kind in (CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor, ROCMMonitor):
        with suppress(Exception):  # no such device, or no driver for it
            sensors.append(kind())
    return sensors
