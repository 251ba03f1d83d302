"""The vocabulary that a run learns from its captions: once, when it begins, and kept beside its checkpoints.

    <root>/checkpoints/<run>/vocabulary

It depends on the captions and the settings alone. Who resumes or evaluates the run reads the file; where it is lost,
the run makes the same again.
"""

from collections.abc import Iterator
from itertools import islice

from shards import Storage, read_marker, read_samples
from trainer.config import ObjectiveConfig
from trainer.dataset import STAGE, Dataset
from trainer.models.tokenizers import learn

FILE = "vocabulary"


def path(run: str) -> str:
    """Under the root."""
    return f"checkpoints/{run}/{FILE}"


def prepare(storage: Storage, run: str, objective: ObjectiveConfig, dataset: Dataset, *, anew: bool) -> None:
    """Learns and writes the vocabulary, if the objective wants one and it is not there. `anew`: also if one is there,
    which an earlier run of that name left.

    Raises DataError naming the shard if a caption cannot be read.
    """
    words = objective.reads
    if words is None or not words.learnt or (storage.exists(path(run)) and not anew):
        return
    storage.replace(path(run), learn(words, islice(captions(storage, dataset), words.learn_from)))


def located(storage: Storage, run: str, objective: ObjectiveConfig) -> ObjectiveConfig:
    """The same objective, reading the file that `prepare` wrote if its vocabulary is learnt."""
    words = objective.reads
    if words is None or not words.learnt:
        return objective
    file = words.model_copy(update={"file": storage.url(path(run))})
    return objective.model_copy(update={"tokenizer": file})


def captions(storage: Storage, dataset: Dataset) -> Iterator[str]:
    """Of all shards, in their order."""
    for shard in dataset.shards:
        for sample in read_samples(storage, read_marker(storage, STAGE, shard.unit)):
            yield sample.fields.get("txt", b"").decode("utf-8", "replace").strip()
