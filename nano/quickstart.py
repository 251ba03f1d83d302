"""The main job on this machine, in one command: concepts in, an evaluated encoder out.

    python -m nano.quickstart [--seed 1] [--root runs/nano-seed-1] [-- --schedule.steps 800]

It is `torchx run components/pipeline.py` with the stages' words in one stream and a table at the end. Killed at any
moment, the same command goes on.
"""

import argparse
import logging
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from torchx.runner import get_runner
from torchx.runner.api import Runner
from torchx.schedulers.api import Stream
from torchx.schedulers.local_scheduler import SignalException
from torchx.specs import AppState

from nano import results

COMPONENT: Final = "components/pipeline.py"
MLFLOW: Final = "sqlite:///runs/mlflow.db"
LOGS: Final = "runs/logs"
AGAIN: Final = "What is committed is safe: the same command goes on from there."
# What libraries say while they start: lines with a time or a level, warnings with the source line below them.
_NOISE: Final = re.compile(
    r"^\s*(\[?\d{4}[-/]\d\d[-/]\d\d|\[rank|[IWE]\d{4} |(INFO|DEBUG|WARNING)\b|warnings\.warn)|Warning: |\dit/s\b"
)
_NAMED: Final = re.compile(r"^(?:caption|image|pretrain|evaluation)  ")  # progress names its stage, and so do we
_WAITS: Final = re.compile(r"(?i)(waiting for \S+?)(?:: .*)?$")


@dataclass(frozen=True)
class Arguments:
    """What was typed."""

    recipe: str
    seed: int
    root: str
    mlflow: str
    overrides: tuple[str, ...]

    def component(self) -> list[str]:
        """The arguments of the component."""
        seeds = [f"--{key}={self.seed}" for key in ("caption.seed", "image.seed", "seed")] if self.seed else []
        flags = ["--recipe", self.recipe, "--root", self.root, "--mlflow", self.mlflow]
        return [*flags, "--", *seeds, *self.overrides]


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the pipeline, unless its results are there, and shows them. Raises SystemExit if it fails."""
    arguments = parse(sys.argv[1:] if argv is None else argv)
    root = Path(arguments.root)
    if found := results.read(root):
        print(report(arguments, found, f"These results are there already, from {results.made(root)}."))
        print(f"To start afresh: rm -r {root}, or give another --root.")
        return
    print(introduction(arguments, resumed=root.exists()), flush=True)
    started = time.monotonic()
    if not run(arguments):
        sys.exit(f"The pipeline failed, see above. {AGAIN}")
    took = time.monotonic() - started
    print(report(arguments, results.read(root), f"Done in {took / 60:.1f} minutes."))


def parse(argv: Sequence[str]) -> Arguments:
    """The arguments. Raises SystemExit with a message for those that mean nothing."""
    parser = argparse.ArgumentParser("python -m nano.quickstart", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--recipe", default="nano", help="recipe of all stages: nano, nano_long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of captions, images and training (default: 0)")
    parser.add_argument(
        "--root", help="where the run lives (default: runs/<recipe>, with -seed-<seed> unless that is 0)"
    )
    parser.add_argument("--mlflow", default=MLFLOW, help="MLflow's tracking URI (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="-- --key value", help="keys of the stages' recipes")
    given = parser.parse_args(argv)
    root = given.root or f"runs/{given.recipe}" + (f"-seed-{given.seed}" if given.seed else "")
    return Arguments(given.recipe, given.seed, root, given.mlflow, tuple(given.overrides))


def run(arguments: Arguments) -> bool:
    """Runs the pipeline to its end, whatever that is; whether it succeeded. Its words appear while it runs."""
    logging.basicConfig(level=logging.ERROR, format="%(message)s")
    with get_runner() as runner:
        planned = runner.dryrun_component(COMPONENT, arguments.component(), "local_cwd", cfg={"log_dir": LOGS})
        assert planned.app is not None
        try:
            handle = runner.schedule(planned)
            with shown(runner, handle, [role.name for role in planned.app.roles]):
                status = runner.wait(handle, wait_interval=1)
        except SignalException as stopped:
            sys.exit(
                f"\nStopped ({stopped.sigval.name}). What is committed is safe: the same command goes on from there."
            )
    return status is not None and status.state == AppState.SUCCEEDED


@contextmanager
def shown(runner: Runner, handle: str, roles: Sequence[str]) -> Iterator[None]:
    """Prints what the roles say while the block runs, and the rest of it when it ends."""
    write = stream(time.monotonic, print)

    def follow(role: str) -> None:
        # Its table comes at the end; until then its progress is enough.
        only = Stream.STDERR if role == "evaluate" else None
        for line in runner.log_lines(handle, role, 0, should_tail=True, streams=only):
            write(role, line)

    threads = [threading.Thread(target=follow, args=(role,), daemon=True) for role in roles]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join(timeout=10)


def stream(clock: Callable[[], float], write: Callable[[str], None]) -> Callable[[str, str], None]:
    """Takes (role, line) from any thread, and writes what is worth reading with the time since now and the role.

    That a stage waits for another is said once.
    """
    started, lock = clock(), threading.Lock()
    waiting: set[str] = set()

    def take(role: str, line: str) -> None:
        text = _NAMED.sub("", line.rstrip())
        with lock:
            if not text or _NOISE.search(text):
                return
            if wait := _WAITS.match(text):
                if role in waiting:
                    return
                waiting.add(role)
                text = wait[1]
            minutes, seconds = divmod(int(clock() - started), 60)
            write(f"{minutes:02}:{seconds:02}  {role:<8}  {text}")

    return take


def introduction(arguments: Arguments, *, resumed: bool) -> str:
    """What is about to happen."""
    return "\n".join(
        [
            "concept -> caption -> image -> shard -> batch -> loss -> checkpoint -> evaluation",
            f"{'Going on under' if resumed else 'Starting under'} {arguments.root}; full logs in {LOGS}. The same as:",
            f"  torchx run {COMPONENT} {' '.join(arguments.component())}",
        ]
    )


def report(arguments: Arguments, found: results.Results | None, said: str) -> str:
    """The table, and where to look next."""
    return "\n".join(
        [
            "",
            results.table(found) if found else "No evaluations were written.",
            "",
            said,
            f"Captions with their images: {Path(arguments.root) / 'grid.png'}",
            f"All curves and artifacts:   .venv/bin/mlflow ui --backend-store-uri {arguments.mlflow}",
        ]
    )


if __name__ == "__main__":
    main()
