"""Random resized crops, as bytes: what the reading processes do to a decoded image.

Shapes: N crops, H and W of the image, S side of a crop, T tries.
"""

from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from trainer.draws import Draw, Ints, uniform

TRIES = 10
RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Boxes:
    """Where to cut, in pixels; each array [N]."""

    top: Ints
    left: Ints
    height: Ints
    width: Ints


def draw_boxes(
    seed: int, position: Ints, view: Ints, crop: Ints, height: Ints, width: Ints, scale: tuple[float, float]
) -> Boxes:
    """Boxes with an area of `scale` (from, to) times the image's and a ratio of 3:4 to 4:3; the arrays are [N].

    Inception's scheme as torchvision has it: up to ten draws until one fits, else the largest centred box that does.
    `crop` tells the crops of an image apart.
    """
    draws = uniform(seed, Draw.CROP, position[:, None], view[:, None], crop[:, None], np.arange(2 * TRIES + 2))
    area = height * width
    area_NT = area[:, None] * (scale[0] + draws[:, :TRIES] * (scale[1] - scale[0]))
    low, high = np.log(RATIO)
    ratio_NT = np.exp(low + draws[:, TRIES : 2 * TRIES] * (high - low))
    width_NT = np.rint(np.sqrt(area_NT * ratio_NT)).astype(np.int64)
    height_NT = np.rint(np.sqrt(area_NT / ratio_NT)).astype(np.int64)
    fits = (width_NT > 0) & (width_NT <= width[:, None]) & (height_NT > 0) & (height_NT <= height[:, None])
    first = np.argmax(fits, axis=1)
    some = np.arange(len(position)), first
    widest_height, widest_width = _largest(height, width)
    box_height = np.where(fits[some], height_NT[some], widest_height)
    box_width = np.where(fits[some], width_NT[some], widest_width)
    # A box that was drawn lies anywhere; the fallback lies in the middle.
    down, right = (np.where(fits[some], draws[:, 2 * TRIES + axis], 0.5) for axis in (0, 1))
    return Boxes(
        top=np.floor(down * (height - box_height + 1)).astype(np.int64),
        left=np.floor(right * (width - box_width + 1)).astype(np.int64),
        height=box_height,
        width=box_width,
    )


def resized(image_3HW: Tensor, boxes: Boxes, index: int, size: int) -> Tensor:
    """Crop `index` of an image, uint8 [3, size, size]: bicubic with antialiasing, as Pillow's."""
    top, left = int(boxes.top[index]), int(boxes.left[index])
    bottom, right = top + int(boxes.height[index]), left + int(boxes.width[index])
    return resize(image_3HW[:, top:bottom, left:right], size)


def resize(image_3HW: Tensor, size: int) -> Tensor:
    """uint8 to uint8; as fast as this gets if the channels are innermost in memory."""
    return F.interpolate(image_3HW[None], size=(size, size), mode="bicubic", antialias=True)[0]


def downsampled(image_3HW: Tensor, size: int) -> Tensor:
    """The image shrunk to `size` pixels a side and enlarged again (StableRep): softer, the same shape."""
    height, width = image_3HW.shape[1:]
    small = F.interpolate(image_3HW[None], size=(size, size), mode="bicubic", antialias=True)
    return F.interpolate(small, size=(height, width), mode="bicubic", antialias=True)[0]


def _largest(height: Ints, width: Ints) -> tuple[Ints, Ints]:
    """The largest box of an image whose ratio is still allowed."""
    ratio = width / height
    return (
        np.where(ratio < RATIO[0], np.rint(width / RATIO[0]), height).astype(np.int64),
        np.where(ratio > RATIO[1], np.rint(height * RATIO[1]), width).astype(np.int64),
    )
