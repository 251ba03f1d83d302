"""Checkpoints: all that a run needs to go on as if it had never stopped, under the root, whole or not at all.

    <root>/checkpoints/<run>/step-00001000/
        model.safetensors       every parameter and buffer of the objective (fp32)
        optimizer.safetensors   AdamW's moments, by parameter
        encoder.safetensors     what evaluations load
        config.json             the PretrainConfig
        state.json              step, position in the data, the list of shards and its digest
        COMMITTED               written last: size and sha256 of the others
    <root>/checkpoints/<run>/latest

Tensors are whole, whatever ZeRO had cut up. DeepSpeed's own files are one pickle per rank that only the same number of
ranks at the same stage can load; these resume on any number of ranks at any stage, and are read without running code.
There is no state of random generators to keep: every random number is a function of the step (`draws.py`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from config import ConfigError, DataError
from config.section import flatten
from shards import Storage
from trainer.config import PretrainConfig
from trainer.dataset import Dataset, decode_dataset, encode_dataset
from trainer.models.encoder import new_encoder

MODEL, OPTIMIZER, ENCODER = "model.safetensors", "optimizer.safetensors", "encoder.safetensors"
CONFIG, STATE, COMMITTED, LATEST = "config.json", "state.json", "COMMITTED", "latest"
HARMLESS = (
    "root",
    "tracking",
    "metrics",
    "checkpoint",
    "batch.workers",
    "batch.prefetch",
    "batch.memory_bytes",
    "batch.cache_bytes",
    "batch.cache_folder",
    "batch.bad_samples",
    "batch.bad_ceiling",
    "batch.start_shards",
    "batch.wait",
    "engine.zero_stage",
    "engine.device",
    "engine.threads",
    "engine.not_finite_steps",
    "engine.rollbacks",
    "engine.hang_seconds",
)
"""Settings that may change when a run goes on: what a step computes does not depend on them (beyond rounding). The
length of the run is not among them: learning rate, weight decay and the teacher's momentum follow from it."""


@dataclass(frozen=True)
class Progress:
    """Where a run is."""

    step: int
    """Steps done, as the schedules count them."""
    batches: int
    """Batches consumed: the same, plus what was passed over by going back to a checkpoint."""
    updates: int
    """Steps that changed the weights."""
    rollbacks: int = 0
    """How often the run went back to a checkpoint."""


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint in memory."""

    config: Mapping[str, Any]
    """Dotted fields of the PretrainConfig that wrote it."""
    progress: Progress
    dataset: Dataset
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, storage: Storage, run: str) -> None:
        self.storage, self.run = storage, run
        self.folder = f"checkpoints/{run}"

    def steps(self) -> list[int]:
        """Steps of which there is a whole checkpoint, ascending."""
        return [step for step in self._folders() if self.storage.exists(f"{self.path(step)}/{COMMITTED}")]

    def save(
        self,
        config: PretrainConfig,
        progress: Progress,
        dataset: Dataset,
        tensors: Mapping[str, Mapping[str, Tensor]],
        keep: int,
    ) -> None:
        """Write a checkpoint, point `latest` at it, and delete all but the newest `keep`.

        `tensors` are those of the three safetensors files. Raises RetryableError if the store fails or a disk is full;
        what was written by then has no COMMITTED, so no reader sees it.
        """
        path = self.path(progress.step)
        state = {"progress": vars(progress), "dataset": encode_dataset(dataset)}
        small = {CONFIG: config.model_dump_json(indent=2).encode(), STATE: json.dumps(state).encode()}
        listed = {name: self._put(f"{path}/{name}", data) for name, data in small.items()}
        for name, values in tensors.items():
            listed[name] = self._put(f"{path}/{name}", save_tensors(dict(values)))
        self.storage.replace(f"{path}/{COMMITTED}", json.dumps(listed, indent=2).encode())
        self.storage.replace(f"{self.folder}/{LATEST}", path.rsplit("/", 1)[-1].encode())
        for old in self.steps()[:-keep]:
            self._delete(old)

    def load(self, step: int) -> Checkpoint:
        """Raises DataError, naming the file, if it is not what was written."""
        state = json.loads(self._get(step, STATE))
        return Checkpoint(
            config=flat_config(self._get(step, CONFIG)),
            progress=Progress(**state["progress"]),
            dataset=decode_dataset(state["dataset"]),
            model=load_tensors(self._get(step, MODEL)),
            optimizer=load_tensors(self._get(step, OPTIMIZER)),
        )

    def model(self, step: int) -> dict[str, Tensor]:
        """All parameters and buffers of the objective. Raises DataError, naming the file, if it is not what was
        written."""
        return load_tensors(self._get(step, MODEL))

    def progress(self, step: int) -> Progress:
        """Only where the run was at that checkpoint."""
        return Progress(**json.loads(self._get(step, STATE))["progress"])

    def sweep(self) -> None:
        """Delete what was left half-written by a run that was killed."""
        whole = self.steps()
        for step in self._folders():
            if step not in whole:
                self._delete(step)

    def encoder(self, step: int | None = None) -> nn.Module:
        """See `load_encoder`."""
        steps = self.steps()
        if not steps or (step is not None and step not in steps):
            known = ", ".join(map(str, steps)) or "none"
            wanted = "no checkpoint" if step is None else f"no checkpoint of step {step}"
            raise DataError(f"{self.storage.url(self.folder)}: {wanted}; there are: {known}")
        step = steps[-1] if step is None else step
        config = PretrainConfig.model_validate_json(self._get(step, CONFIG))
        encoder = new_encoder(config.model, average=config.objective.pools_patches)
        encoder.load_state_dict(load_tensors(self._get(step, ENCODER)))
        return encoder

    def _folders(self) -> list[int]:
        names = (entry.name for entry in self.storage.entries(self.folder) if entry.folder)
        return sorted(int(name.removeprefix("step-")) for name in names if name.startswith("step-"))

    def path(self, step: int) -> str:
        """Under the root."""
        return f"{self.folder}/step-{step:08}"

    def _put(self, path: str, data: bytes) -> dict[str, Any]:
        self.storage.replace(path, data)
        return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

    def _get(self, step: int, name: str) -> bytes:
        path = f"{self.path(step)}/{name}"
        listed = json.loads(self.storage.read(f"{self.path(step)}/{COMMITTED}"))
        try:
            data = self.storage.read(path)
        except FileNotFoundError:
            data = b""
        if {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} != listed.get(name):
            raise DataError(
                f"{self.storage.url(path)} is not what was written ({len(data)} bytes are there). "
                f"Delete {self.storage.url(self.path(step))} to go on from the checkpoint before"
            )
        return data

    def _delete(self, step: int) -> None:
        # The mark first: a checkpoint that is half deleted must not be believed.
        self.storage.delete(f"{self.path(step)}/{COMMITTED}")
        self.storage.delete_tree(self.path(step))


def load_encoder(storage: Storage, run: str, step: int | None = None) -> nn.Module:
    """The encoder of a run's newest checkpoint, or of that of `step`: frozen, normalised images [N, 3, H, W] to
    features [N, D]. Raises DataError if there is none."""
    return Checkpoints(storage, run).encoder(step)


def flat_config(data: bytes) -> dict[str, Any]:
    """The dotted fields of a config file, which an older version may have written."""
    return flatten(json.loads(data))


def check_config(saved: Mapping[str, Any], config: PretrainConfig) -> None:
    """Raises ConfigError naming every field that may not change when a run goes on, and did.

    A field that one of them does not know (it is newer, or gone) counts as its default.
    """
    now, default = config.flat(), PretrainConfig().flat()
    names = [name for name in {**saved, **now} if not _harmless(name)]
    before = {name: saved.get(name, default.get(name)) for name in names}
    after = {name: now.get(name, default.get(name)) for name in names}
    changed = [f"{name} was {before[name]!r} and is {after[name]!r}" for name in names if before[name] != after[name]]
    if changed:
        raise ConfigError(
            f"run {config.run!r} began with another config: {'; '.join(changed)}. "
            "Give the old values to go on with it, or begin another run: --run NAME"
        )


def _harmless(name: str) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in HARMLESS)
