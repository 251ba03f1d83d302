"""Trained for a moment on renders and their captions, CLIP's towers tell classes in words."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nano import captions, world
from shards import Sample, Storage, commit
from tests.trainer.evaluation.toys import evaluation, write_data
from trainer.config import BatchConfig, PretrainConfig
from trainer.evaluate import evaluate
from trainer.loop import train
from trainer.recipes import RECIPES


def sample(index: int) -> Sample:
    """A render of 32 pixels as if painted from its caption."""
    scene = world.scene(1, "train", index)
    pixels, _ = world.render(scene, 32)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    text = captions.describe(scene, np.random.default_rng(index), background=True)
    return Sample(f"c{index:06}", {"0.jpg": buffer.getvalue(), "txt": text.encode(), "json": json.dumps({}).encode()})


def config(root: Path, steps: int) -> PretrainConfig:
    base = RECIPES["clip_nano"]()
    small = {
        "root": str(root),
        "run": "toy",
        "batch": BatchConfig(
            captions=64,
            images_per_caption=1,
            local_crops=0,
            global_scale=(0.8, 1.0),
            augment=base.batch.augment.model_copy(
                update={"jitter": 0.0, "gray": 0.0, "blur": 0.0, "weak_blur": 0.0, "solarise": 0.0, "downsample": 0.0}
            ),
            workers=0,
            memory_bytes=10**8,
        ),
        "model": base.model.model_copy(update={"image_size": 32, "width": 64, "depth": 2, "heads": 2}),
        "schedule": base.schedule.model_copy(update={"steps": steps, "warmup_steps": steps // 10}),
        "engine": base.engine.model_copy(update={"zero_stage": 0, "device": "cpu", "threads": 1}),
        "tracking": base.tracking.model_copy(update={"enabled": False}),
    }
    return base.model_copy(update=small)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_trained_towers_tell_colours_and_places_in_words(tmp_path: Path) -> None:
    """Chance is 10 % for the colour and 12.5 % for the background."""
    storage = Storage(str(tmp_path))
    samples = [sample(index) for index in range(1024)]
    commit(storage, "images", "000000", samples, units=1, attempt="a", statistics={}, config={})
    write_data(tmp_path, train=60, test=200)
    train(config(tmp_path, steps=200))
    _, found = evaluate(evaluation(tmp_path, evaluators=("zero_shot",), baselines=False, log_model=False))
    values = found["zero_shot"]["clip"]
    assert values["background_top1"] > 40
    assert values["colour_top1"] > 20
