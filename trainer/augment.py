"""Colour and sharpness of crops, in batches: each crop has its own parameters, drawn from its coordinates.

    flip → (brightness, contrast, saturation, hue, in any order) → gray → blur → solarise → normalise        (BYOL)

The colour changes are affine maps of RGB, so a crop has one 3x3 matrix and one offset, applied in a single pass. Two
things differ from torchvision's chain: values are clamped once, after the last of them and not after each, and hue is a
rotation in YIQ and not in HSV.

Shapes: N crops, S side.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.config import AugmentConfig
from trainer.draws import Draw, Floats, Ints, uniform

LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G, B in gray (ITU-R BT.601)."""
_TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
_FLIP, _JITTER, _GRAY, _BRANCH, _WEAK, _SOLARISE, _SIGMA, _FACTORS, _ORDER = 0, 1, 2, 3, 4, 5, 6, 7, 11


@dataclass(frozen=True)
class Looks:
    """What happens to each of N crops."""

    flip: Tensor
    """bool [N]"""
    order: Tensor
    """int64 [N, 4]: which of BRIGHTNESS, CONTRAST, SATURATION, HUE comes first, second, ..."""
    strength: Tensor
    """float32 [N, 4]: their factors (1 changes nothing), and for hue the angle in full turns."""
    gray: Tensor
    """bool [N]"""
    sigma: Tensor
    """float32 [N]: standard deviation of the blur in pixels; 0 for none."""
    solarise: Tensor
    """bool [N]"""


def draw_looks(config: AugmentConfig, seed: int, position: Ints, view: Ints, crop: Ints, local: bool) -> Looks:
    """Looks of the crops with these coordinates, each [N]."""
    draws = uniform(seed, Draw.COLOUR, position[:, None], view[:, None], crop[:, None], np.arange(15))
    branch = draws[:, _BRANCH] < (config.local_blur if local else config.blur)
    weak = ~branch & (not local)
    blurred = branch | (weak & (draws[:, _WEAK] < config.weak_blur))
    low, high = config.blur_sigma
    return Looks(
        flip=torch.from_numpy(draws[:, _FLIP] < config.flip),
        order=torch.from_numpy(np.argsort(draws[:, _ORDER:], axis=1)),
        strength=_strengths(config, draws),
        gray=torch.from_numpy(draws[:, _GRAY] < config.gray),
        sigma=torch.from_numpy(np.where(blurred, low + draws[:, _SIGMA] * (high - low), 0.0).astype(np.float32)),
        solarise=torch.from_numpy(weak & (draws[:, _SOLARISE] < config.solarise)),
    )


def augment(crop_N3SS: Tensor, looks: Looks, config: AugmentConfig) -> Tensor:
    """uint8 crops to normalised float32 ones, on the device of the crops."""
    value = crop_N3SS.float().div_(255)
    _flip(value, looks.flip)
    if _colours(config):
        matrix_N33, offset_N3 = colour_map(looks, value.mean((2, 3)))
        shape = value.shape
        value = torch.baddbmm(offset_N3[:, :, None], matrix_N33, value.flatten(2)).view(shape).clamp_(0, 1)
    _blur(value, looks.sigma, config.blur_kernel)
    _solarise(value, looks.solarise)
    return normalised(value, config)


def normalised(value_N3SS: Tensor, config: AugmentConfig) -> Tensor:
    """Values in 0..1 to those the encoder expects, in place."""
    device = value_N3SS.device
    mean, std = (torch.tensor(numbers, device=device)[:, None, None] for numbers in (config.mean, config.std))
    return value_N3SS.sub_(mean).div_(std)


def colour_map(looks: Looks, mean_N3: Tensor) -> tuple[Tensor, Tensor]:
    """The affine map of each crop's colours, [N, 3, 3] and [N, 3]. `mean_N3` is each crop's mean, which contrast needs.

    Written out, with g the gray of x: brightness f x; contrast f x + (1 - f) mean(g); saturation f x + (1 - f) g; hue
    a rotation of the chroma plane; each applied to what the one before gave.
    """
    device = mean_N3.device
    order, strength = looks.order.to(device), looks.strength.to(device)
    eye, luma = torch.eye(3, device=device), torch.tensor(LUMA, device=device)
    to_gray = luma.expand(3, 3)
    rotation = _rotations(strength[:, HUE])
    matrix, offset = eye.expand(len(order), 3, 3), torch.zeros_like(mean_N3)
    for place in range(4):
        which = order[:, place]
        factor = strength.gather(1, which[:, None])
        step = factor[:, :, None] * eye
        step = torch.where((which == SATURATION)[:, None, None], step + (1 - factor)[:, :, None] * to_gray, step)
        step = torch.where((which == HUE)[:, None, None], rotation, step)
        level = (1 - factor) * (mean_N3 @ luma)[:, None]
        shift = torch.where((which == CONTRAST)[:, None], level, torch.zeros_like(level))
        matrix = step @ matrix
        offset, mean_N3 = (torch.einsum("nij,nj->ni", step, old) + shift for old in (offset, mean_N3))
    gray = looks.gray.to(device)
    return (
        torch.where(gray[:, None, None], to_gray @ matrix, matrix),
        torch.where(gray[:, None], offset @ to_gray.T, offset),
    )


def _colours(config: AugmentConfig) -> bool:
    strengths = (config.brightness, config.contrast, config.saturation, config.hue)
    return bool(config.gray or (config.jitter and any(strengths)))


def _strengths(config: AugmentConfig, draws: Floats) -> Tensor:
    """float32 [N, 4]; the middle of each range where the crop is not jittered."""
    ranges = np.array([config.brightness, config.contrast, config.saturation, config.hue])
    middle = np.array([1.0, 1.0, 1.0, 0.0])
    jitter = draws[:, _JITTER] < config.jitter
    spread = (2 * draws[:, _FACTORS:_ORDER] - 1) * ranges * jitter[:, None]
    return torch.from_numpy((middle + spread).astype(np.float32))


def _rotations(turns_N: Tensor) -> Tensor:
    """Rotation of hue by so many full turns, as a matrix on RGB, [N, 3, 3]."""
    angle = 2 * math.pi * turns_N
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    turn = torch.stack([one, zero, zero, zero, cos, -sin, zero, sin, cos], dim=1).view(-1, 3, 3)
    # The inverse comes from the CPU in double precision: a few digits here are visible in gray.
    to_yiq = torch.tensor(_TO_YIQ, dtype=torch.float64)
    back = torch.linalg.inv(to_yiq).float().to(turns_N.device)
    rotation: Tensor = back @ turn @ to_yiq.float().to(turns_N.device)
    return rotation


def _flip(value_N3SS: Tensor, flip_N: Tensor) -> None:
    """Mirror the chosen crops in place."""
    chosen = _indices(flip_N, value_N3SS.device)
    if len(chosen):
        value_N3SS[chosen] = value_N3SS[chosen].flip(3)


def _blur(value_N3SS: Tensor, sigma_N: Tensor, kernel: int) -> None:
    """Gaussian blur of the chosen crops in place: two passes, one along each axis, with mirrored borders."""
    chosen = _indices(sigma_N > 0, value_N3SS.device)
    if not len(chosen):
        return
    distance = torch.arange(kernel, device=value_N3SS.device) - kernel // 2
    sigma = sigma_N.to(value_N3SS.device)[chosen]
    weight_NK = torch.exp(-(distance**2) / (2 * sigma[:, None] ** 2))
    weight_NK = (weight_NK / weight_NK.sum(1, keepdim=True)).repeat_interleave(3, 0)
    part = value_N3SS[chosen]
    count, _, height, width = part.shape
    flat = F.pad(part.reshape(1, count * 3, height, width), [kernel // 2] * 4, mode="reflect")
    flat = F.conv2d(flat, weight_NK[:, None, None, :], groups=count * 3)
    flat = F.conv2d(flat, weight_NK[:, None, :, None], groups=count * 3)
    value_N3SS[chosen] = flat.view(count, 3, height, width)


def _solarise(value_N3SS: Tensor, solarise_N: Tensor) -> None:
    """Invert values from 128/255 up, in the chosen crops, in place."""
    chosen = _indices(solarise_N, value_N3SS.device)
    if len(chosen):
        part = value_N3SS[chosen]
        value_N3SS[chosen] = torch.where(part >= 128 / 255, 1 - part, part)


def _indices(chosen_N: Tensor, device: torch.device) -> Tensor:
    """Indices of True. The flags are on the CPU, so no GPU is waited for."""
    return chosen_N.nonzero().flatten().to(device)
