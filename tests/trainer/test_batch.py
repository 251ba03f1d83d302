"""What a step gets depends on the seed, its number and the dataset, and on nothing else."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from config import ConfigError, DataError
from shards import Storage, markers
from tests.trainer.scenes import VIEWS, images, pretrain_config
from trainer.batch import Batch, Maker, Raw, augmented, counted, part_of, raised, raw
from trainer.config import PretrainConfig
from trainer.dataset import dataset_of
from trainer.order import Order
from trainer.reading import Caption, Reader
from trainer.skipping import Tally

KEYS = ("global_crops", "local_crops", "labels", "mask")
CPU = torch.device("cpu")


def maker(config: PretrainConfig, world: int = 1, rank: int = 0) -> Maker:
    storage = Storage(config.root)
    dataset = dataset_of(markers(storage, "images").values())
    order = Order([one.samples for one in dataset.shards], config.seed, config.batch.window)
    return Maker(config, Reader(storage, dataset, order, config.batch), part_of(config, world, rank))


def batches(config: PretrainConfig, count: int, start: int = 0, world: int = 1, rank: int = 0) -> list[Batch]:
    made = augmented(raised(raw(maker(config, world, rank), start, pin=False)), config, KEYS, CPU)
    return [next(made) for _ in range(count)]


def by_caption(batch: Batch, key: str) -> Tensor:
    """Rows of a rank's batch, split so that the captions of ranks can be put side by side: [..., B, 3, S, S]."""
    rows, captions = batch[key], len(batch["labels"])
    return rows.view(-1, captions, *rows.shape[1:])


def same(ours: Batch, theirs: Batch) -> bool:
    return all(torch.equal(ours[key], theirs[key]) for key in KEYS)


@pytest.fixture
def config(tmp_path: Path) -> PretrainConfig:
    images(str(tmp_path), shards=4, per_shard=5)
    return pretrain_config(str(tmp_path))


def test_shapes_and_types(config: PretrainConfig):
    batch = batches(config, 1)[0]
    assert {key: tuple(value.shape) for key, value in batch.items()} == {
        "global_crops": (VIEWS * 4, 3, 16, 16),
        "local_crops": (2 * VIEWS * 4, 3, 8, 8),
        "labels": (4,),
        "mask": (VIEWS * 4, 16),
    }
    assert batch["global_crops"].dtype == batch["local_crops"].dtype == torch.float32
    assert (batch["labels"].dtype, batch["mask"].dtype) == (torch.int64, torch.bool)


def test_rows_are_view_major_and_local_ones_crop_major(config: PretrainConfig):
    """With crops of the whole image and no colour, a row is its image, resized: that of view v and caption b stands at
    v * B + b, and local crop l of it L-major before that."""
    plain = config.batch.augment.model_copy(
        update={"flip": 0.0, "jitter": 0.0, "gray": 0.0, "blur": 0.0, "weak_blur": 0.0, "solarise": 0.0}
        | {"local_blur": 0.0, "downsample": 0.0, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    )
    section = config.batch.model_copy(update={"augment": plain, "global_scale": (1.0, 1.0), "local_scale": (1.0, 1.0)})
    config = config.model_copy(update={"batch": section})
    made, batch = maker(config), batches(config, 1)[0]
    captions = made.reader.read(batch["labels"].tolist())
    colours = torch.stack(
        [caption.images[view].float().mean((1, 2)) / 255 for view in range(VIEWS) for caption in captions]
    )
    torch.testing.assert_close(batch["global_crops"].mean((2, 3)), colours, atol=0.03, rtol=0)
    torch.testing.assert_close(batch["local_crops"].mean((2, 3)), colours.repeat(2, 1), atol=0.03, rtol=0)


def test_the_same_batch_every_time_and_another_at_every_step(config: PretrainConfig):
    first, again = batches(config, 3), batches(config, 3)
    assert all(same(one, two) for one, two in zip(first, again, strict=True))
    assert not same(first[0], first[1])


def test_a_run_may_begin_anywhere(config: PretrainConfig):
    assert same(batches(config, 8)[7], batches(config, 1, start=7)[0])


def test_another_seed_gives_other_batches(config: PretrainConfig):
    other = config.model_copy(update={"seed": config.seed + 1})
    assert not same(batches(config, 1)[0], batches(other, 1)[0])


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_the_batch_of_one(config: PretrainConfig, world: int):
    whole = batches(config, 3)
    shares = [batches(config, 3, world=world, rank=rank) for rank in range(world)]
    for step in range(3):
        parts = [share[step] for share in shares]
        assert torch.equal(torch.cat([part["labels"] for part in parts]), whole[step]["labels"])
        for key in ("global_crops", "local_crops", "mask"):
            joined = torch.cat([by_caption(part, key) for part in parts], dim=1)
            torch.testing.assert_close(joined, by_caption(whole[step], key), atol=1e-5, rtol=0)


def test_micro_batches_are_the_step_cut_up(config: PretrainConfig):
    halves = config.model_copy(update={"engine": config.engine.model_copy(update={"accumulate": 2})})
    first, second = batches(halves, 2)
    whole = batches(config, 1)[0]
    assert torch.equal(torch.cat([first["labels"], second["labels"]]), whole["labels"])
    joined = torch.cat([by_caption(part, "global_crops") for part in (first, second)], dim=1)
    torch.testing.assert_close(joined, by_caption(whole, "global_crops"), atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_worker_processes_change_nothing(config: PretrainConfig):
    plain = batches(config, 5)
    for workers in (1, 2):
        section = config.batch.model_copy(update={"workers": workers})
        others = batches(config.model_copy(update={"batch": section}), 5)
        assert all(same(one, two) for one, two in zip(plain, others, strict=True))


def test_epochs_follow_each_other_without_a_gap(config: PretrainConfig):
    """20 captions, 4 a step: steps 0 to 4 are an epoch, 5 to 9 the next, in another order."""
    labels = [label for batch in batches(config, 10) for label in batch["labels"].tolist()]
    first, second = labels[:20], labels[20:]
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second


def test_more_images_than_asked_for_are_drawn_from(config: PretrainConfig):
    augment = config.batch.augment.model_copy(update={"downsample": 0.0})
    section = config.batch.model_copy(update={"images_per_caption": 1, "augment": augment})
    made = maker(config.model_copy(update={"batch": section}))
    captions = [caption for caption in made.reader.read(range(20)) if isinstance(caption, Caption)]
    positions = torch.arange(20).numpy()
    chosen = [
        [image is picked[0] for image in caption.images].index(True)
        for caption, picked in zip(captions, made._images(captions, positions), strict=True)
    ]
    assert set(chosen) == {0, 1}


def test_only_what_the_objective_reads_is_made(config: PretrainConfig):
    made = augmented(raised(raw(maker(config), 0, pin=False)), config, ("global_crops", "labels"), CPU)
    assert set(next(made)) == {"global_crops", "labels"}


def test_no_local_crops(config: PretrainConfig):
    section = config.batch.model_copy(update={"local_crops": 0})
    assert "local_crops" not in batches(config.model_copy(update={"batch": section}), 1)[0]


def test_captions_must_divide(config: PretrainConfig):
    with pytest.raises(
        ConfigError, match=r"batch\.captions must be divisible by ranks x engine\.accumulate \(3 x 1\), got 4"
    ):
        part_of(config, world=3, rank=0)


def test_an_error_is_raised_where_the_batches_are_read(config: PretrainConfig):
    next((Path(config.root) / "images").glob("*.tar")).unlink()
    with pytest.raises(DataError, match="the object is missing"):
        batches(config, 5)


def test_skipped_samples_are_counted(config: PretrainConfig):
    one: Raw = maker(config).make(0)
    tally = Tally(ceiling=1.0, captions=20)
    list(counted(iter([{**one, "skipped": ["a", "b"]}, one]), tally))
    assert (tally.read, tally.bad) == (8, 2)
