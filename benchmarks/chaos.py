"""A `Reverie` on a real cluster through faults drawn by a seed: is the result that of an undisturbed run?

    python -m benchmarks.chaos --runs 12 --seed 1 --to runs/chaos.jsonl     # an hour and more on two cores
    python -m benchmarks.chaos --report runs/chaos.jsonl

The first starts the cluster of `make cluster` (root, Go), runs one `Reverie` in peace and then one for each run of the
plan, and adds what came of it to the file. The second prints Markdown; benchmarks/chaos.md is what it printed on the
day that stands there. The faults are in tests/cluster/chaos.py; a run of them is part of `make test-cluster`.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.cluster.chaos import KINDS, judged, plan, weather
from tests.cluster.cluster import cluster
from tests.cluster.release import CONTROLLED, install

Json = dict[str, Any]


def measure(runs: int, seed: int, skip: int, to: Path) -> None:
    """One undisturbed run, and so many others; not the first `skip` of them."""
    planned = [[], *plan(seed, runs)[skip:]]
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder, cluster(Path(folder)) as made:
        install(made, *CONTROLLED)
        judged(made)
        with weather(made) as sky:
            for number, faults in enumerate(planned, skip):
                outcome = sky.run(f"chaos-{number}", faults)
                with to.open("a") as out:
                    print(json.dumps(asdict(outcome)), file=out)
                print(f"{number} of {runs}: {outcome.phase} {outcome.seconds:.0f} s", file=sys.stderr)


def report(lines: Sequence[Json]) -> Iterator[str]:
    """Markdown."""
    calm = {number: line for number, line in enumerate(lines) if not line["faults"]}
    rough = [line for line in lines if line["faults"]]
    faults = [fault for line in rough for fault in line["faults"] if fault["what"]]
    whole = [line["seconds"] for line in rough]
    ended = sum(line["phase"] == "Succeeded" for line in rough)
    # Of those that were measured with the same code: the last before it.
    equal = sum(
        line["result"] == calm[max(before for before in calm if before < number)]["result"]
        for number, line in enumerate(lines)
        if line["faults"]
    )
    clean = sum(not line["left"] for line in rough)
    peace = statistics.median(line["seconds"] for line in calm.values())
    yield f"{len(faults)} faults in {len(rough)} runs. Of the runs"
    yield f"{ended} succeeded, {equal} with the samples, weights, last loss and evaluations of the undisturbed one;"
    yield f"{clean} left no object and no lease after they were deleted. In peace a run took {peace:.0f} s,"
    yield f"through faults {statistics.median(whole):.0f} s in the median and {max(whole):.0f} s at most."
    yield "\n| fault | times | s until work was committed: median | longest | s until a controller led | longest |"
    yield "|---|--:|--:|--:|--:|--:|"
    for kind in KINDS:
        met = [fault for fault in faults if fault["kind"] == kind]
        columns = [_times([fault[key] for fault in met if fault[key] is not None]) for key in ("seconds", "led")]
        yield f"| {kind} | {len(met)} | {' | '.join(columns)} |"
    stages = Counter(fault["stage"] for fault in faults)
    yield f"\nStages that were met: {', '.join(f'{stage} {count}' for stage, count in stages.items())}."
    causes = sorted({cause for line in rough for cause in line["restarts"]})
    counted = ", ".join(f"{cause} {sum(line['restarts'].get(cause, 0) for line in rough)}" for cause in causes)
    yield f"Attempts that the controller began anew, by cause: {counted}."


def _times(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.0f} | {max(seconds):.0f}" if seconds else " | "


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--skip", type=int, default=0, help="as many runs of the plan, which are in the file already")
    parser.add_argument("--to", type=Path, help="a file that gets a line for each run")
    parser.add_argument("--report", type=Path, help="such a file")
    given = parser.parse_args()
    if given.to:
        measure(given.runs, given.seed, given.skip, given.to)
    if given.report:
        print("\n".join(report([json.loads(line) for line in given.report.read_text().splitlines()])))


if __name__ == "__main__":
    main()
