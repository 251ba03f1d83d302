"""A run learns its vocabulary when it begins, and keeps it."""

from pathlib import Path

import pytest

from shards import Storage
from tests.trainer.scenes import images, pretrain_config
from trainer import vocabulary
from trainer.config import BatchConfig, CLIPConfig, SimCLRConfig, TextConfig, TokenizerConfig
from trainer.dataset import Dataset, find_dataset
from trainer.loop import train
from trainer.models.tokenizers import text_of

TEXT = TextConfig(width=16, depth=1, heads=2)


def objective(kind: str = "wordpiece", file: str = "captions", **settings: int) -> CLIPConfig:
    words = TokenizerConfig.model_validate({"kind": kind, "file": file, "context": 16, "size": 40} | settings)
    return CLIPConfig(embedding=8, tokenizer=words, text=TEXT)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    images(str(tmp_path))
    return Storage(str(tmp_path))


def dataset(storage: Storage) -> Dataset:
    return find_dataset(storage, BatchConfig(captions=2))


@pytest.mark.parametrize("kind", ["words", "wordpiece", "sentencepiece"])
def test_it_is_learnt_from_the_captions_of_the_run(storage: Storage, kind: str):
    config = objective(kind)
    vocabulary.prepare(storage, "here", config, dataset(storage), anew=True)
    words = text_of(vocabulary.located(storage, "here", config))
    assert words is not None
    assert words.decode(words("Caption 7")).replace(" ", "") == "caption7"


def test_only_the_first_captions_count(storage: Storage):
    """Captions are "caption 0" to "caption 14": of the first three, the numbers 0, 1 and 2 are known."""
    config = objective("words", learn_from=3)
    vocabulary.prepare(storage, "here", config, dataset(storage), anew=True)
    assert storage.read(vocabulary.path("here")).decode().split() == ["caption", "0", "1", "2"]


def test_it_is_kept_unless_the_run_begins_anew(storage: Storage):
    config, shards = objective("words"), dataset(storage)
    storage.replace(vocabulary.path("here"), b"old")
    vocabulary.prepare(storage, "here", config, shards, anew=False)
    assert storage.read(vocabulary.path("here")) == b"old"
    vocabulary.prepare(storage, "here", config, shards, anew=True)
    assert storage.read(vocabulary.path("here")) != b"old"


def test_what_needs_none_has_none(storage: Storage):
    for config in (objective("words", file=""), objective("clip_bpe", file=""), SimCLRConfig()):
        vocabulary.prepare(storage, "here", config, dataset(storage), anew=True)
        assert vocabulary.located(storage, "here", config) == config
    assert not storage.exists(vocabulary.path("here"))


def test_a_run_trains_with_it_and_goes_on_with_the_same(tmp_path: Path):
    """Also where the file was lost in between."""
    images(str(tmp_path))
    config = pretrain_config(str(tmp_path), objective=objective())
    config = config.model_copy(update={"batch": config.batch.model_copy(update={"local_crops": 0})})
    file = tmp_path / vocabulary.path("test")
    train(config)
    learnt = file.read_bytes()
    file.unlink()
    newest = tmp_path / "checkpoints" / "test" / "step-00000006"
    whole = (newest / "model.safetensors").read_bytes()
    for part in newest.iterdir():
        part.unlink()
    train(config)
    assert file.read_bytes() == learnt
    assert (newest / "model.safetensors").read_bytes() == whole
