"""A run in every phase, as its user would meet it. The clock is fixed, so its status is the same to the letter."""

from collections.abc import Callable
from typing import Any, Final

from controller.status import Evaluation
from tests.controller.simulated import Simulated, begun, failed

OVERLAPPING: Final[dict[str, Any]] = {"pretrain.config.batch.startShards": 3, "image.replicas": 2}
LABELLED: Final[dict[str, Any]] = {"evaluate.data": "s3://bucket/labelled"}


def painting(changes: dict[str, Any] | None = None) -> Simulated:
    """Captions are done; two minutes later 128 of 1024 images are."""
    run = begun({**LABELLED, **(changes or {})})
    run.run_to("caption")
    run.set("image", "Running")
    run.reconcile(5)
    page = f"experiments/1/runs/{'0123456789abcdef' * 2}"
    run.report("image", done=128, shards=1, rate=1.07, step=30.0, recorded=page)
    run.reconcile(120)
    return run


def invalid() -> Simulated:
    return begun({"image.pool": "h200x8"})


def pending() -> Simulated:
    return begun()


def running() -> Simulated:
    """Images are still painted while the encoder learns from the first three shards."""
    run = painting(OVERLAPPING)
    run.report("image", done=448, shards=3, rate=1.1, step=29.0)
    run.reconcile(290)
    run.set("pretrain", "Running")
    run.reconcile(30)
    run.report("image", done=512, shards=4, rate=1.1, step=29.0)
    run.report("pretrain", done=40, rate=2.0, step=0.5)
    run.reconcile(25)
    return run


def restarting() -> Simulated:
    """The node of a painter ran out of memory."""
    run = painting()
    words = "image/0 ended with signal SIGKILL (OOMKilled): without a word (on node-7)"
    run.set("image", "Failed", failed(137, words, after=180, node="node-7"))
    run.reconcile(15)
    return run


def suspended() -> Simulated:
    run = painting()
    run.edit(suspend=True)
    run.reconcile(15)
    run.remove_deleted()
    run.reconcile(20)
    return run


def succeeded() -> Simulated:
    run = painting()
    run.set("image", "Completed")
    run.reconcile(840)
    run.set("pretrain", "Running")
    run.reconcile(20)
    run.set("pretrain", "Completed")
    run.reconcile(600)
    run.set("evaluate", "Running")
    run.reconcile(20)
    found = (("synclr", 71.5), ("random_init", 38.25), ("raw_pixels", 45.0))
    values = [Evaluation(name=f"knn/{name}", metric="shape_top1", value=value) for name, value in found]
    run.report("evaluate", done=3)
    run.reconcile(60)
    run.set("evaluate", "Completed", results=tuple(values))
    run.reconcile(5)
    return run


def failed_config() -> Simulated:
    """What only the process can know: the model's folder is not in the image."""
    run = begun(LABELLED)
    words = "caption/0 ended with exit code 64 (ConfigError): error: caption.model: no folder /models/llama (on node-1)"
    run.set("caption", "Terminated", failed(64, words, after=12, node="node-1"))
    run.reconcile(15)
    return run


def failed_crash_loop() -> Simulated:
    run = painting({"failurePolicy.maxRestarts": 2})
    for attempt in range(3):
        words = f"image/0 ended with exit code 1: RuntimeError: an illegal memory access (on node-{attempt})"
        run.set("image", "Failed", failed(1, words, after=180 + 60 * attempt, node=f"node-{attempt}"))
        run.reconcile(15)
        run.reconcile(60)
    return run


def failed_deadline() -> Simulated:
    run = painting({"activeDeadlineSeconds": 600})
    run.reconcile(600)
    return run


PHASES: Final[dict[str, Callable[[], Simulated]]] = {
    one.__name__.replace("_", "-"): one
    for one in (
        invalid, pending, running, restarting, suspended, succeeded, failed_config, failed_crash_loop, failed_deadline,
    )
}  # fmt: skip
