"""What a step gets depends on the seed, its number and the dataset, and on nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from config import ConfigError, DataError
from shards import Storage, markers
from tests.trainer.scenes import VIEWS, images, pretrain_config, sample, shard
from trainer.batch import Batch, Maker, Raw, augmented, counted, part_of, raised, raw
from trainer.config import CLIPConfig, DeCLIPConfig, PretrainConfig, SimCLRConfig, SupervisedConfig, TokenizerConfig
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


def test_two_global_crops_are_two_views_of_the_same_images(config: PretrainConfig):
    """Crop by crop: the second half of the rows are the same images, cropped anew; the first is what it was alone."""
    section = config.batch.model_copy(update={"global_crops": 2, "local_crops": 0})
    twice = config.model_copy(update={"batch": section, "objective": SimCLRConfig()})
    made = augmented(raised(raw(maker(twice), 0, pin=False)), twice, ("global_crops", "images", "mask"), CPU)
    batch, once = next(made), batches(config, 1)[0]
    half = VIEWS * 4
    assert batch["global_crops"].shape == (2 * half, 3, 16, 16)
    assert torch.equal(batch["global_crops"][:half], once["global_crops"])
    assert not torch.equal(batch["global_crops"][half:], once["global_crops"])
    numbers = [VIEWS * label + view for view in range(VIEWS) for label in once["labels"].tolist()]
    assert batch["images"].tolist() == numbers * 2
    assert batch["mask"].shape == (2 * half, 16)


def test_text_comes_as_numbers(config: PretrainConfig):
    """Of "caption 7" the small world knows no word: begin, twice unknown, end, filling."""
    words = TokenizerConfig(kind="words", context=6)
    text = config.model_copy(update={"objective": CLIPConfig(tokenizer=words)})
    made = augmented(raised(raw(maker(text), 0, pin=False)), text, ("global_crops", "tokens"), CPU)
    assert next(made)["tokens"].tolist() == [[97, 1, 1, 98, 0, 0]] * 4


def test_concepts_come_as_classes(tmp_path: Path):
    """Of three captions one was made from a square, the second shape of the small world; one does not say, and one from
    something else."""
    storage = Storage(str(tmp_path))
    said = [b'{"concept": "square"}', b"{}", b'{"concept": "dragon"}']
    samples = [replace(sample(n), fields=sample(n).fields | {"json": text}) for n, text in enumerate(said)]
    shard(storage, 0, samples, units=1)
    config = pretrain_config(str(tmp_path), objective=SupervisedConfig())
    config = config.model_copy(update={"batch": config.batch.model_copy(update={"captions": 3})})
    made = augmented(raised(raw(maker(config), 0, pin=False)), config, ("global_crops", "concepts"), CPU)
    batch = next(made)
    assert dict(zip(batch["labels"].tolist(), batch["concepts"].tolist(), strict=True)) == {0: 1, 1: -1, 2: -1}


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


def test_two_views_of_each_text_are_there_if_asked_for(config: PretrainConfig):
    """The words of "caption 3" are on no list: number 1. The end has moved up for the mask, on any number of ranks."""
    objective = DeCLIPConfig(tokenizer=TokenizerConfig(kind="words", context=6))
    pairs = config.batch.model_copy(update={"global_crops": 2})
    both = config.model_copy(update={"objective": objective, "batch": pairs})
    keys = ("global_crops", "positions", "masked", "guesses", "changed")
    one = next(augmented(raised(raw(maker(both), 3, pin=False)), both, keys, CPU))
    halves = [next(augmented(raised(raw(maker(both, 2, rank), 3, pin=False)), both, keys, CPU)) for rank in range(2)]
    assert one["positions"].tolist() == [12, 13, 14, 15]
    assert set(one) == {*keys, "labels"}
    assert (one["changed"].max(1).values == 99).all()
    for key in keys[1:]:
        assert torch.equal(torch.cat([half[key] for half in halves]), one[key])
    assert next(augmented(raised(raw(maker(config), 0, pin=False)), config, ("masked",), CPU))["masked"].shape == (4, 0)
