"""What the controller costs for many `Reverie` resources of 20 pods each, from the first to `Succeeded`.

    python -m benchmarks.controller 50 100 1000       pods are made by tests/cluster/stand_in.py in Volcano's place
    python -m benchmarks.controller --volcano 50      and here by Volcano

For each size: a namespace of its own on one control plane (etcd, API server, controller manager and schedulers are
real, kwok plays the nodes), and a controller of its own, a process with the rights of the chart's service account.
Where pods tell their progress nobody answers, which costs the controller more than an answer does. Needs root, and what
`make test-cluster` needs.

Prints Markdown; benchmarks/controller.md is what it printed on the day that stands there. `--timeline FILE` keeps a
line of JSON for each look of its own at the controller.
"""

import argparse
import dataclasses
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.cluster import simulated
from tests.cluster.control_plane import control_plane
from tests.cluster.load import AT_ONCE, FLAGS, Measured, Snapshot, cpu_seconds, install_types, measure

PER_NODE: Final = 500  # pods: fewer nodes than usual, as the heartbeats of simulated ones cost more than what they hold
HEADER: Final = (
    *("Reveries", "pods", "a look, p50", "p99", "waits for it, p50", "p99", "looks per pod", "calls per pod"),
    *("CPU per pod", "memory", "15 of 20 pods run", "all succeeded"),
)


def row(made: Measured) -> list[str]:
    """Of the table of sizes."""
    over, look, wait = made.over, "reverie_reconcile_seconds", "reverie_queue_seconds"
    return [
        f"{made.reveries:,}",
        f"{made.pods:,}",
        *(f"{1000 * over.quantile(name, share):.1f} ms" for name in (look, wait) for share in (0.5, 0.99)),
        f"{over.total(f'{look}_count') / made.pods:.2f}",
        f"{made.calls_per_pod:.2f}",
        f"{1000 * made.cpu_per_pod:.1f} ms",
        f"{over.peak:.0f} MiB",
        f"{made.all_run.time - made.started.time:.0f} s",
        f"{over.time - made.started.time:.0f} s",
    ]


def quiet(made: Measured) -> str:
    """What it takes to have them all run, while nothing happens."""
    before, after = made.settled, made.quiet
    seconds = after.time - before.time
    looks = after.total("reverie_reconcile_seconds_count") - before.total("reverie_reconcile_seconds_count")
    return (
        f"{made.reveries:,} that run, for {seconds:.0f} s in which nothing happens: "
        f"{(after.calls() - before.calls()) / seconds:.2f} calls/s, {looks / seconds:.2f} looks/s, "
        f"{(after.cpu - before.cpu) / seconds:.1%} of a core, {after.memory:.0f} MiB"
    )


def by_kind(made: Measured) -> str:
    """Its calls, by resource and verb."""
    found = {key: made.over.metrics[key] for key in made.over.metrics if key.startswith("reverie_api_requests_total")}
    named = sorted(((value, key.partition("{")[2].rstrip("}")) for key, value in found.items()), reverse=True)
    return "\n".join(f"    {value / made.reveries:8.2f} a Reverie  {labels}" for value, labels in named)


def programs() -> dict[str, float]:
    """CPU seconds of all that this process has started, by name."""
    found: dict[str, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, fields = stat.read_text().partition("(")[2].rpartition(")")
            if int(fields.split()[1]) == os.getpid():
                found[name] = found.get(name, 0.0) + cpu_seconds(int(stat.parent.name))
        except OSError:
            continue  # it has ended
    return found


def timeline(file: Path | None) -> Callable[[Snapshot], None]:
    """What `measure` tells, as lines of a file."""

    def told(now: Snapshot) -> None:
        if file:
            with file.open("a") as out:
                print(json.dumps(dataclasses.asdict(now) | {"programs": programs()}), file=out)

    return told


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="+", type=int, help="numbers of resources")
    parser.add_argument("--volcano", action="store_true", help="Volcano makes the pods and places them")
    parser.add_argument("--timeline", type=Path, help="a file to append to")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    os.environ["GOGC"] = "400"  # less of the machine goes into collecting the garbage of the control plane
    folder = Path(tempfile.mkdtemp(prefix="reverie-scale-"))
    print(f"logs: {folder}", file=sys.stderr, flush=True)
    with control_plane(folder / "plane", flags=FLAGS, volcano=given.volcano) as plane:
        install_types(plane, volcano=given.volcano)
        nodes = simulated.make_nodes(plane, AT_ONCE * max(given.sizes), PER_NODE)
        for line in (HEADER, ["--:"] * len(HEADER)):
            print(f"| {' | '.join(line)} |", flush=True)
        notes = []
        for size in given.sizes:
            before = programs()
            made = measure(
                plane, f"of-{size}", size, folder / str(size),
                nodes=0 if given.volcano else nodes, told=timeline(given.timeline),
            )  # fmt: skip
            print(f"| {' | '.join(row(made))} |", flush=True)
            spent = {name: round(now - before.get(name, 0.0)) for name, now in programs().items()}
            notes += [f"\n{quiet(made)}\n\n{by_kind(made)}\n\nCPU seconds of the others: {spent}"]
        print("\n".join(notes))


if __name__ == "__main__":
    main()
