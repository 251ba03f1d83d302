"""Random resized crops."""

import numpy as np
import torch
from PIL import Image

from trainer.crops import Boxes, downsampled, draw_boxes, resized


def boxes(count: int, height: int, width: int, scale: tuple[float, float]) -> Boxes:
    zeros = np.zeros(count, np.int64)
    return draw_boxes(0, np.arange(count), zeros, zeros, zeros + height, zeros + width, scale)


def test_boxes_lie_in_the_image_and_have_the_area_and_ratio_asked_for():
    found = boxes(2000, 200, 300, (0.2, 0.6))
    assert (found.top >= 0).all()
    assert (found.left >= 0).all()
    assert (found.top + found.height <= 200).all()
    assert (found.left + found.width <= 300).all()
    share = found.height * found.width / (200 * 300)
    ratio = found.width / found.height
    assert 0.19 < share.min() < 0.22
    assert 0.58 < share.max() < 0.61
    assert abs(share.mean() - 0.4) < 0.02
    assert ratio.min() > 0.72
    assert ratio.max() < 1.37


def test_boxes_reach_every_border():
    found = boxes(2000, 64, 64, (0.5, 1.0))
    assert found.top.min() == 0
    assert (found.top + found.height).max() == 64
    assert found.left.min() == 0
    assert (found.left + found.width).max() == 64


def test_an_image_too_long_for_any_box_gets_the_largest_centred_one():
    """100 x 10 with at least 95 % of the area cannot be between 3:4 and 4:3; 10 high allows 13 wide, centred."""
    found = boxes(3, 10, 100, (0.95, 1.0))
    assert found.height.tolist() == [10] * 3
    assert found.width.tolist() == [13] * 3
    assert found.left.tolist() == [44] * 3


def test_resizing_agrees_with_pillow():
    """Bicubic with antialiasing, within 2 grey levels (both work in fixed point)."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((90, 70), Image.Resampling.BICUBIC)
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    one = np.array([0])
    ours = resized(tensor, Boxes(one + 5, one + 11, one + 50, one + 60), 0, 24)
    theirs = np.array(image.resize((24, 24), Image.Resampling.BICUBIC, box=(11, 5, 71, 55)))
    assert np.abs(ours.permute(1, 2, 0).numpy().astype(int) - theirs).max() <= 2


def test_downsampling_keeps_the_size_and_loses_detail():
    noise = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    soft = downsampled(noise, 8)
    assert soft.shape == noise.shape
    assert soft.float().std() < noise.float().std() / 4
