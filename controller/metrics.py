"""Counts and times in the text format of Prometheus. Five metrics need no library: prometheus_client would be the
controller's only dependency of its own."""

import threading
from collections.abc import Callable, Mapping
from typing import Final

_DECADE: Final = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
BUCKETS: Final = (*(round(part * 10**power, 6) for power in (-3, -2, -1, 0) for part in _DECADE), 10.0, 30.0)  # seconds

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """A set of metrics, each with its help. For any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._help: dict[str, tuple[str, str]] = {}
        self._values: dict[str, dict[Labels, float]] = {}
        self._times: dict[str, list[float]] = {}
        self._gauges: dict[str, Callable[[], float]] = {}

    def counter(self, name: str, help: str) -> Callable[..., None]:
        """A number that only grows: call what is returned with its labels."""
        self._help[name] = ("counter", help)
        values = self._values.setdefault(name, {})

        def count(by: float = 1, **labels: str) -> None:
            with self._lock:
                key = tuple(sorted(labels.items()))
                values[key] = values.get(key, 0.0) + by

        return count

    def histogram(self, name: str, help: str) -> Callable[[float], None]:
        """How long something takes: call what is returned with seconds."""
        self._help[name] = ("histogram", help)
        times = self._times.setdefault(name, [0.0] * (len(BUCKETS) + 2))  # per bucket, in all, their sum

        def observe(seconds: float) -> None:
            with self._lock:
                for index, bound in enumerate(BUCKETS):
                    times[index] += seconds <= bound
                times[-2] += 1
                times[-1] += seconds

        return observe

    def gauge(self, name: str, help: str, value: Callable[[], float]) -> None:
        """A number that is asked for when somebody looks."""
        self._help[name] = ("gauge", help)
        self._gauges[name] = value

    def text(self) -> str:
        """All of them, as Prometheus reads it."""
        asked = {name: value() for name, value in self._gauges.items()}  # unlocked: what they ask may be counting
        with self._lock:
            lines: list[str] = []
            for name, (kind, help) in self._help.items():
                lines += [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]
                if name in asked:
                    lines.append(f"{name} {asked[name]:g}")
                elif name in self._times:
                    lines += _buckets(name, self._times[name])
                else:
                    lines += [f"{name}{_shown(dict(labels))} {value:g}" for labels, value in self._values[name].items()]
            return "\n".join(lines) + "\n"


def _buckets(name: str, times: list[float]) -> list[str]:
    *counts, count, total = times
    bounds = [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
    lines = [f'{name}_bucket{{le="{bound}"}} {value:g}' for bound, value in zip(bounds, [*counts, count], strict=True)]
    return [*lines, f"{name}_sum {total:g}", f"{name}_count {count:g}"]


def _shown(labels: Mapping[str, str]) -> str:
    inner = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""
