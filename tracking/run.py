"""One stage's MLflow run. Everything but starting returns at once; nothing raises because of MLflow."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from config import Section, Stopped
from tracking import params as text
from tracking import server
from tracking.config import TrackingConfig
from tracking.runs import Ledger
from tracking.sink import MlflowSink
from tracking.writer import Point, Writer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image
    from torch import nn

T = TypeVar("T")
_log = logging.getLogger(__name__)

MODEL_SECONDS: Final = 300.0  # longest wait for a model to be exported and stored


@contextmanager
def stage_run(
    config: TrackingConfig,
    stage: str,
    *,
    root: str,
    params: Section,
    resume_key: str | None = None,
    ledger: Ledger | None = None,
) -> Iterator[Run]:
    """The stage's run while it works: a child of the pipeline's parent run. A restarted stage continues its own.

    Ends it as FINISHED, as KILLED on `Stopped`, Ctrl-C or exit, and as FAILED on anything else.

    Args:
        root: URI of the pipeline; all stages under one root share the parent run (unless `config.parent` names one).
        params: the stage's config, logged as params; credentials are left out.
        resume_key: tells runs of one stage apart (a run's name, a worker's); None if the stage has one run only.
        ledger: `shards.Storage(root)`. Needed when stages start on several machines, so that they agree on the runs.
    """
    if not config.enabled:
        yield Run(stage, None)
        return
    server.load()
    sink = MlflowSink(config, stage, root, resume_key, ledger)
    run = Run(stage, sink)
    run.log_params(params)
    status = "FAILED"
    try:
        with _system_metrics(run, config):
            yield run
        status = "FINISHED"
    except (Stopped, KeyboardInterrupt, SystemExit, GeneratorExit):
        status = "KILLED"
        raise
    finally:
        run.close(status, config.flush_seconds)


class Run:
    """What a stage logs to. Made by `stage_run`; without a sink it takes everything and does nothing.

    Metric names without a slash get the stage's in front: `loss` in `pretrain` is `pretrain/loss`.
    """

    def __init__(self, stage: str, sink: MlflowSink | None) -> None:
        self.stage = stage
        self._sink = sink
        self._writer = None if sink is None else Writer(sink)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Buffers values, for `<stage>/<metric>_<unit>` at `step`."""
        now = int(time.time() * 1000)
        named = ((k if "/" in k else f"{self.stage}/{k}", float(v)) for k, v in metrics.items())
        self.add([Point(text.name(key), value, now, step) for key, value in named])

    def add(self, points: Sequence[Point]) -> None:
        """Buffers points under their full names."""
        if self._writer is not None:
            self._writer.add(points)

    def log_params(self, section: Section, prefix: str = "") -> None:
        """Logs a config, `prefix` before each key. A param that has another value from before a restart stays; the new
        value becomes a tag."""
        params = {text.name(prefix + key): value for key, value in text.params(section).items()}
        self._submit("the params", lambda sink: sink.log_params(params))

    def set_tag(self, key: str, value: str) -> None:
        """Sets a tag of the stage's run."""
        self._submit(f"the tag {key}", lambda sink: sink.client.set_tag(sink.run, text.name(key), text.redact(value)))

    def log_picture(self, picture: str | Path | Image.Image, name: str) -> None:
        """Stores a picture as `name` (`grid.png`) among the run's artifacts, as it is now.

        Raises:
            OSError: a path that cannot be read.
        """
        data = _png(picture)
        self._submit(f"the picture {name}", lambda sink: sink.log_bytes(data, name))

    def log_dataset(
        self, name: str, digest: str, root: str, markers_summary: Mapping[str, Any], *, context: str = "training"
    ) -> None:
        """Records the shards a run reads as its dataset input.

        Args:
            digest: `shards.dataset_digest`.
            markers_summary: numbers that describe them: shards, samples, bytes.
            context: training, validation or testing.
        """

        def call(sink: MlflowSink) -> None:
            from tracking.lineage import dataset_input

            sink.log_dataset(dataset_input(name, digest, root, markers_summary, context))

        self._submit(f"the dataset {name}", call)

    def log_encoder(
        self,
        encoder: nn.Module,
        example: NDArray[np.float32],
        *,
        version: str,
        step: int,
        name: str = "encoder",
        metadata: Mapping[str, Any] | None = None,
    ) -> str | None:
        """Stores an encoder as an MLflow model and waits for it. See `tracking.model.log`.

        Returns:
            The model's URI, or None (said in a warning) when it could not be stored.
        """

        def call(sink: MlflowSink) -> str:
            from tracking import model

            return model.log(
                sink.client, sink.run, sink.experiment, encoder, example,
                name=name, version=version, step=step, metadata=metadata or {},
            )  # fmt: skip

        future = self._submit(f"the model {name}", call)
        try:
            return None if future is None else future.result(MODEL_SECONDS)
        except FutureTimeoutError:
            _log.warning("the model %s is not stored after %g s; trying on, without waiting", name, MODEL_SECONDS)
            return None

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the stage's run; None while MLflow is not reached, and when tracking is off."""
        return self._sink.run or None if self._sink else None

    def close(self, status: str, seconds: float) -> None:
        """Ends the run with a status, and waits up to `seconds` for what is buffered."""
        if self._writer is not None and (sink := self._sink) is not None:
            self._writer.close(seconds, lambda: sink.finish(status))

    def _submit(self, what: str, call: Callable[[MlflowSink], T]) -> Future[T | None] | None:
        sink, writer = self._sink, self._writer
        return None if sink is None or writer is None else writer.submit(what, lambda: call(sink))


@contextmanager
def _system_metrics(run: Run, config: TrackingConfig) -> Iterator[None]:
    if not config.system_metrics:
        yield
        return
    from tracking.system import SystemMetrics

    sampler = SystemMetrics(run.add, config.system_seconds)
    try:
        yield
    finally:
        sampler.close()


def _png(picture: str | Path | Image.Image) -> bytes:
    if isinstance(picture, str | Path):
        return Path(picture).read_bytes()
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
