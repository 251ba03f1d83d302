"""torchrun, with an exit code that means something.

    python -m trainer.launch --standalone --nproc-per-node 2 -m trainer.pretrain --recipe nano --root runs/nano

takes torchrun's arguments and does what torchrun does, but ends with the exit code of the worker that failed: torchrun
itself ends with 1 whatever happened, and the controller, Volcano's policies and a person could not tell a wrong config
(64: never again) from a preemption (143: go on elsewhere).
"""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Final

from config.errors import ReverieError
from config.lifeline import lifeline, watch

_GRACE: Final = "300"  # seconds that workers get to save after SIGTERM; the pod's own grace period may be shorter


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the workers and waits. Raises SystemExit unless all of them succeeded."""
    watch(os.environ)
    os.environ.update(lifeline(os.getpid()))  # workers end with their torchrun
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", _GRACE)

    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    try:
        run.run(run.parse_args(sys.argv[1:] if argv is None else argv))
    except ChildFailedError as error:
        sys.exit(exit_code(failure.exitcode for failure in error.failures.values()))
    except SignalException as stopped:
        sys.exit(128 + stopped.sigval)


def exit_code(codes: Iterable[int]) -> int:
    """The code that says why: one of ours, if a worker ended with it, because the others then fail for want of a peer.

    Args:
        codes: of the failed workers, the first one first; a negative one is the signal that ended it.
    """
    codes = list(codes)
    ours = {error.exit_code for error in ReverieError.__subclasses__()}
    known = [code for code in codes if code in ours]
    first = (known or codes)[0]
    return 128 - first if first < 0 else first


if __name__ == "__main__":
    main()
