"""torchrun, with an exit code that means something.

    python -m trainer.launch --standalone --nproc-per-node 2 -m trainer.pretrain --recipe nano --root runs/nano

takes torchrun's arguments and does what torchrun does, but ends with the exit code of the worker that failed: torchrun
itself ends with 1 whatever happened, and the controller, Volcano's policies and a person could not tell a wrong config
(64: never again) from a preemption (143: go on elsewhere).

On a cluster, where each node's torchrun is a pod, two things are added.

* The pod with index 0 holds the rendezvous. torchrun finds that out by comparing addresses, which fails while the pod's
  own name is not in DNS yet.
* When another node is preempted, all workers save and end with 143. A launcher that was not asked to stop itself then
  starts again and waits for the new pod in that node's place: the gang goes on, and nothing is counted as a failure.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from config.errors import RetryableError, ReverieError, Stopped
from config.lifeline import lifeline, watch

_REJOIN: Final = "REVERIE_REJOIN"  # set by the scheduler for the pods of a gang
_GRACE: Final = "300"  # seconds that workers get to save after SIGTERM; the pod's own grace period may be shorter


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the workers and waits. Raises SystemExit unless all of them succeeded."""
    _stop_at_once_before_there_are_workers()
    watch(os.environ)
    os.environ.update(lifeline(os.getpid()))  # workers end with their torchrun
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", _GRACE)
    os.environ.setdefault("PET_RDZV_CONF", meeting(os.environ))  # torchrun's --rdzv-conf

    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    parser = run.get_args_parser()
    parser.allow_abbrev = False  # a flag of the worker, such as --run, is no abbreviation of torchrun's --run-path
    try:
        run.run(parser.parse_args(argv))
    except ChildFailedError as error:
        code = exit_code(failure.exitcode for failure in error.failures.values())
        if code == Stopped.exit_code and os.environ.get(_REJOIN):
            print("another node was asked to stop, and everything is saved: meeting again", file=sys.stderr, flush=True)
            # The same command in the same process, with nothing of this attempt left: no store, no sockets.
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - no shell is meant
        sys.exit(code)
    except SignalException as stopped:
        sys.exit(128 + stopped.sigval)


def _stop_at_once_before_there_are_workers() -> None:
    """Makes SIGTERM end this process until torchrun has a handler of its own; without one, pid 1 would ignore it.

    A handler alone would not do: it runs when the main thread is back in Python, and that thread waits in C++ for its
    peers, half an hour if need be, with the node's GPUs held.
    """
    asked, signalled = os.pipe()
    os.set_blocking(signalled, False)

    def stop(*_: object) -> None:
        os._exit(Stopped.exit_code)

    def listen() -> None:
        while number := os.read(asked, 1):
            if number[0] == signal.SIGTERM and signal.getsignal(signal.SIGTERM) is stop:
                os._exit(Stopped.exit_code)

    signal.signal(signal.SIGTERM, stop)
    signal.set_wakeup_fd(signalled)
    threading.Thread(target=listen, name="sigterm", daemon=True).start()


def meeting(env: Mapping[str, str]) -> str:
    """torchrun's settings of a rendezvous: how long to wait, in seconds, and on a cluster who holds it.

    Pods start when their images are there, which takes minutes, and a preempted one when there is a node for it.
    """
    index = env.get("VC_TASK_INDEX", "")
    return "join_timeout=1800,read_timeout=900" + (f",is_host={int(index == '0')}" if index else "")


def exit_code(codes: Iterable[int]) -> int:
    """The code that says why: one of ours, if a worker ended with it; 75 only if there is no other, for a worker ends
    with it too when it has lost its peers.

    Args:
        codes: of the failed workers, the first one first; a negative one is the signal that ended it.
    """
    ours = {error.exit_code for error in ReverieError.__subclasses__()}

    def rank(code: int) -> int:
        if code == RetryableError.exit_code:
            return 2
        if code == -signal.SIGTERM:  # torchrun's own, to those that are left
            return 3
        return 0 if code in ours else 1

    first = min(codes, key=rank)
    return 128 - first if first < 0 else first


if __name__ == "__main__":
    main()
