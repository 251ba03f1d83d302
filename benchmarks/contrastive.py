"""Time and peak memory of the contrastive core against dense losses.

    python -m benchmarks.contrastive                                    prints Markdown, some minutes
    python -m benchmarks.contrastive --to benchmarks/contrastive.md     writes it

Two comparisons, forward and backward, features of 256 channels in fp32:

* many positives, against constant keys (SynCLR): a fixed number of anchors, more and more candidates. The peer is the
  dense loss as it is usually written: one matrix of logits, one mask, `log_softmax`.
* images and texts (CLIP): as many anchors as candidates, gradients for both. The peer is open_clip's `ClipLoss`.

Memory: each loss in a process of its own, the system's peak resident set (VmHWM, set back before the pass) less what
was resident then. So for both losses inputs are left out, and all that is made on the way counts: gradients,
temporaries, libraries' buffers.

Time: both losses in one process, one after the other and again, on the same inputs; the median of the passes, after one
that does not count (of more than 2^26 logits, one pass of each and no other). Beside the clock's seconds stand the
processor's, which the machine's other work moves less. One thread: with more, a thread that waits for a busy core holds
the others up, at each of many small steps in ours and of few large ones in the dense.

A dense loss for which there is no memory is left out.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss
from torch import Tensor

from trainer.losses.contrastive import NO_KEY, multi_positive, symmetric

CANDIDATES = (4096, 16384, 65536)
WIDTH = 256
PER_CAPTION = 4
TEMPERATURE = 0.1
DENSE_MATRICES = 7  # of the logits' size that a dense loss may hold at once
MANY = 2**26  # logits of which one pass is enough
MEMORY_BAR, TIME_BAR = 1 / 20, 1.0  # of dense: memory at 64k candidates, time at 16k


class Inputs(NamedTuple):
    """Features and the captions that they belong to."""

    anchor: Tensor
    """[A, D]"""
    key: Tensor
    """[K, D]"""
    anchor_label: Tensor
    """[A]"""
    key_label: Tensor
    """[K]"""


def dense_multi_positive(given: Inputs) -> Tensor:
    """All logits at once."""
    logit_AK = F.normalize(given.anchor, dim=1) @ F.normalize(given.key, dim=1).T / TEMPERATURE
    positive_AK = (given.anchor_label[:, None] == given.key_label).float()
    share_AK = positive_AK / positive_AK.sum(1, keepdim=True).clamp(min=1)
    return -(share_AK * logit_AK.log_softmax(1)).sum(1).mean()


def tiled_multi_positive(given: Inputs) -> Tensor:
    """Ours."""
    none_A = torch.full_like(given.anchor_label, NO_KEY)
    return multi_positive(*given[:2], given.anchor_label, given.key_label, none_A, TEMPERATURE)[0].mean()


def open_clip(given: Inputs) -> Tensor:
    """open_clip's: as many anchors as keys, one positive each."""
    image_AD, text_AD = (F.normalize(each, dim=1) for each in given[:2])
    loss = ClipLoss()(image_AD, text_AD, torch.tensor(1 / TEMPERATURE))
    assert isinstance(loss, Tensor)
    return loss


def tiled_symmetric(given: Inputs) -> Tensor:
    """Ours, for the same."""
    number_A = torch.arange(len(given.anchor))
    return symmetric(*given[:2], number_A, number_A, TEMPERATURE)


Loss = Callable[[Inputs], Tensor]
PAIRS: dict[str, tuple[Loss, Loss]] = {
    "many positives": (dense_multi_positive, tiled_multi_positive),
    "images and texts": (open_clip, tiled_symmetric),
}
"""Peer and ours."""


class Case(NamedTuple):
    """One row of the report."""

    pair: str
    anchors: int
    candidates: int


def cases(anchors: list[int], square: list[int]) -> Iterator[Case]:
    """All rows: the first pair for each number of anchors, then the second."""
    for count in anchors:
        yield from (Case("many positives", count, keys) for keys in CANDIDATES)
    yield from (Case("images and texts", keys, keys) for keys in square)


def inputs(case: Case) -> Inputs:
    """The same at every call. Teachers' keys have no gradient, texts have."""
    torch.manual_seed(0)
    anchor_AD = torch.randn(case.anchors, WIDTH, requires_grad=True)
    key_KD = torch.randn(case.candidates, WIDTH, requires_grad=case.pair == "images and texts")
    label_A, label_K = (torch.arange(count) % (case.candidates // PER_CAPTION) for count in case[1:])
    return Inputs(anchor_AD, key_KD, label_A, label_K)


class Pass(NamedTuple):
    """Forward and backward."""

    clock: float
    """Seconds."""
    processor: float
    """Seconds."""
    value: float
    """Of the loss."""


def once(loss: Loss, given: Inputs) -> Pass:
    """One pass."""
    given.anchor.grad = given.key.grad = None
    clock, processor = time.perf_counter(), time.process_time()
    value = loss(given)
    value.backward()
    return Pass(time.perf_counter() - clock, time.process_time() - processor, value.item())


def peak(case: Case, which: int) -> dict[str, Any]:
    """Bytes that a pass takes beyond the inputs, and the loss."""
    given = inputs(case)
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    before = resident("VmRSS")
    value = once(PAIRS[case.pair][which], given).value
    return {"bytes": resident("VmHWM") - before, "value": value}


def resident(name: str) -> int:
    """Bytes: VmRSS is what is resident now, VmHWM the most that was."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def seconds(case: Case, which: list[int], repeats: int) -> dict[str, Any]:
    """Median seconds of each loss, clock's and processor's, their passes taking turns."""
    given, losses = inputs(case), PAIRS[case.pair]
    many = case.anchors * case.candidates > MANY
    rounds = [[once(losses[one], given) for one in which] for _ in range(1 if many else repeats + 1)]
    by_loss = zip(which, zip(*(rounds if many else rounds[1:]), strict=True), strict=True)
    return {str(one): [median(each) for each in list(zip(*passes, strict=True))[:2]] for one, passes in by_loss}


def fits(case: Case) -> bool:
    """Whether the dense loss fits in three quarters of the memory that is there."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])
    return DENSE_MATRICES * 4 * case.anchors * case.candidates < 0.75 * free


def apart(what: str, case: Case, *more: int) -> dict[str, Any]:
    """A measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.contrastive", "--one", what, *map(str, (*case, *more))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603  # this file
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


class Row(NamedTuple):
    """What was measured of a case; None: left out for want of memory."""

    case: Case
    dense: float | None
    """Bytes."""
    tiled: float
    """Bytes."""
    dense_seconds: list[float] | None
    """The clock's and the processor's."""
    tiled_seconds: list[float]

    def memory(self) -> float | None:
        """Of dense."""
        return self.tiled / self.dense if self.dense else None

    def time(self) -> list[float] | None:
        """Of dense, by the clock and by the processor."""
        pairs = zip(self.tiled_seconds, self.dense_seconds or [], strict=False)
        return [ours / theirs for ours, theirs in pairs] or None


def measure(case: Case, repeats: int) -> Row:
    """Both losses, or ours alone. Raises AssertionError if their values differ."""
    both = fits(case)
    dense, tiled = apart("peak", case, 0) if both else None, apart("peak", case, 1)
    if dense is not None:
        assert abs(dense["value"] - tiled["value"]) < 1e-4 * abs(dense["value"]), (case, dense, tiled)
    taken = apart("seconds", case, repeats, *((0, 1) if both else (1,)))
    return Row(case, dense["bytes"] if dense else None, tiled["bytes"], taken.get("0"), taken["1"])


def table(pair: str, rows: list[Row]) -> str:
    """Markdown."""
    theirs = "dense" if pair == "many positives" else "open_clip"
    lines = [
        f"| anchors | candidates | {theirs}, MB | tiled, MB | of it | {theirs}, s | tiled, s | of it | processor |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in (row for row in rows if row.case.pair == pair):
        megabytes = [f"{each / 1e6:,.0f}" if each else "does not fit" for each in (row.dense, row.tiled)]
        took = [f"{each[0]:.2f}" if each else "" for each in (row.dense_seconds, row.tiled_seconds)]
        memory, time_of = row.memory(), row.time()
        share, of = f"1/{1 / memory:.0f}" if memory else "", [f"{each:.2f}" for each in time_of or []] or ["", ""]
        cells = [f"{row.case.anchors:,}", f"{row.case.candidates:,}", *megabytes, share, *took, *of]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def bars(rows: list[Row]) -> str:
    """What was asked for, and whether it holds."""
    lines = []
    for row in rows:
        anchors, keys = f"{row.case.anchors:,} anchors", f"{row.case.candidates:,} candidates"
        memory, took = row.memory(), row.time()
        if keys == "65,536 candidates" and memory:
            held = "holds" if memory <= MEMORY_BAR else "**does not hold**"
            lines.append(f"* peak memory at {keys}, {anchors}: 1/{1 / memory:.0f} of dense; at most 1/20 {held}.")
        if keys == "16,384 candidates" and took:
            held = "holds" if took[0] <= TIME_BAR else "**does not hold**"
            lines.append(
                f"* time at {keys}, {anchors} ({row.case.pair}): {took[0]:.2f} of dense by the clock, "
                f"{took[1]:.2f} by the processor; at most 1 {held}."
            )
    for first, last in zip(rows, rows[2:], strict=False):
        if first.case[:2] == last.case[:2]:
            more = last.tiled / first.tiled, last.tiled_seconds[1] / first.tiled_seconds[1]
            lines.append(
                f"* growth with 16 times the candidates, {first.case.anchors:,} anchors: memory x {more[0]:.1f}, "
                f"time x {more[1]:.1f}; linear would be at most x 16."
            )
    return "\n".join(lines)


def report(rows: list[Row], load: list[float]) -> str:
    """The whole page."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "a processor")
    made = (
        f"{datetime.now(UTC).date()}, {os.cpu_count()} cores ({processor}), torch {version('torch')} on CPU, one "
        f"thread, open_clip {version('open_clip_torch')}: `python -m benchmarks.contrastive`. Load of the machine: "
        f"{load[0]:.1f} before, {load[1]:.1f} after, of which what is measured makes 1. How it is measured is in "
        "the script."
    )
    parts = [
        "# The contrastive core against dense losses",
        made,
        "## Many positives, constant keys (SynCLR)",
        table("many positives", rows),
        "## Images and texts, gradients for both (CLIP)",
        table("images and texts", rows),
        "## What was asked for",
        bars(rows),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measures; prints or writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anchors", type=int, nargs="*", default=[1024], help="of many positives (1024)")
    parser.add_argument("--square", type=int, nargs="*", default=CANDIDATES, help="images and texts (4096 16384 65536)")
    parser.add_argument("--repeats", type=int, default=5, help="passes that count (5)")
    parser.add_argument("--to", metavar="FILE", help="write the page there")
    parser.add_argument("--one", nargs="*", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.one:
        what, pair, *numbers = given.one
        anchors, candidates, first, *which = map(int, numbers)
        case = Case(pair, anchors, candidates)
        print(json.dumps(peak(case, first) if what == "peak" else seconds(case, which, first)))
        return
    load, rows = [os.getloadavg()[0]], []
    for case in cases(given.anchors, given.square):
        rows.append(measure(case, given.repeats))
        print(rows[-1], file=sys.stderr, flush=True)
        page = report(rows, [*load, os.getloadavg()[0]])
        if given.to:
            Path(given.to).write_text(page)
    if not given.to:
        print(page)


if __name__ == "__main__":
    main()
