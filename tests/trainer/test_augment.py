"""Colour and sharpness, per crop."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from trainer.augment import BRIGHTNESS, CONTRAST, HUE, SATURATION, Looks, augment, draw_looks, normalised
from trainer.config import AugmentConfig

PLAIN = AugmentConfig(
    flip=0, jitter=0, gray=0, blur=0, weak_blur=0, solarise=0, local_blur=0, mean=(0, 0, 0), std=(1, 1, 1)
)
JITTER = PLAIN.model_copy(update={"jitter": 1.0})


def pictures(count: int = 4) -> Tensor:
    """Middle tones, so that no strength below leaves 0..1 and clamping plays no part."""
    return torch.randint(90, 150, (count, 3, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def looks(count: int = 4, **changes: Tensor) -> Looks:
    off = torch.zeros(count, dtype=torch.bool)
    fields = {
        "flip": off,
        "order": torch.arange(4).repeat(count, 1),
        "strength": torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(count, 1),
        "gray": off,
        "sigma": torch.zeros(count),
        "solarise": off,
    }
    return Looks(**(fields | changes))


def strength(which: int, values: list[float]) -> Tensor:
    table = torch.tensor([1.0, 1.0, 1.0, 0.0]).repeat(len(values), 1)
    table[:, which] = torch.tensor(values)
    return table


@pytest.mark.parametrize(
    ("which", "theirs"),
    [(BRIGHTNESS, tv.adjust_brightness), (CONTRAST, tv.adjust_contrast), (SATURATION, tv.adjust_saturation)],
)
def test_each_change_is_torchvisions(which: int, theirs):
    values = [0.7, 0.9, 1.0, 1.3]
    ours = augment(pictures(), looks(strength=strength(which, values)), JITTER)
    expected = [theirs(picture, value) for picture, value in zip(pictures().float() / 255, values, strict=True)]
    torch.testing.assert_close(ours, torch.stack(expected), atol=1e-4, rtol=0)


def test_the_order_of_the_changes_counts():
    """Contrast 1/2 and then brightness 1.2 gives 0.6 x + 0.6 mean(g); the other way round the same mean is brighter
    already, which is the same; with saturation between, torchvision's chain in that order is met."""
    table = torch.tensor([[1.2, 0.5, 1.4, 0.0]]).repeat(4, 1)
    order = torch.tensor([[CONTRAST, SATURATION, BRIGHTNESS, HUE], [SATURATION, BRIGHTNESS, HUE, CONTRAST]] * 2)
    ours = augment(pictures(), looks(strength=table, order=order), JITTER)
    x = pictures().float() / 255
    first = tv.adjust_brightness(tv.adjust_saturation(tv.adjust_contrast(x, 0.5), 1.4), 1.2)
    second = tv.adjust_contrast(tv.adjust_brightness(tv.adjust_saturation(x, 1.4), 1.2), 0.5)
    torch.testing.assert_close(ours[::2], first[::2], atol=1e-4, rtol=0)
    torch.testing.assert_close(ours[1::2], second[1::2], atol=1e-4, rtol=0)


def test_hue_turns_colours_and_keeps_grays():
    """A third of a turn takes red near green, as in HSV; a whole turn takes it back; gray stays."""
    red, gray = (
        torch.tensor(rgb, dtype=torch.uint8)[:, None, None].expand(3, 2, 2) for rgb in ([140, 90, 90], [99] * 3)
    )
    crops = torch.stack([red, red, gray])
    value = augment(crops, looks(3, strength=strength(HUE, [1 / 3, 1.0, 0.4])), JITTER)[:, :, 0, 0] * 255
    assert value[0].argmax() in (1, 2)
    assert value[0, 0] < 100
    torch.testing.assert_close(value[1], torch.tensor([140.0, 90, 90]), atol=0.1, rtol=0)
    torch.testing.assert_close(value[2], torch.tensor([99.0] * 3), atol=0.1, rtol=0)


def test_gray_is_luma():
    config = PLAIN.model_copy(update={"gray": 1.0})
    ours = augment(pictures(), looks(gray=torch.tensor([True, False] * 2)), config)
    x = pictures().float() / 255
    torch.testing.assert_close(ours[0], tv.rgb_to_grayscale(x[0], 3), atol=2e-4, rtol=0)
    torch.testing.assert_close(ours[1], x[1])


def test_flip_blur_and_solarise_touch_the_chosen_crops_alone():
    some = torch.tensor([True, False, True, False])
    crops = torch.randint(0, 256, (4, 3, 12, 12), dtype=torch.uint8)
    x = crops.float() / 255
    flipped = augment(crops, looks(flip=some), PLAIN)
    torch.testing.assert_close(flipped, torch.where(some[:, None, None, None], x.flip(3), x))
    solarised = augment(crops, looks(solarise=some), PLAIN)
    torch.testing.assert_close(solarised[some], tv.solarize(crops[some], 128).float() / 255)
    assert torch.equal(solarised[~some], x[~some])
    blurred = augment(crops, looks(sigma=torch.tensor([0.5, 0, 1.5, 0])), PLAIN)
    torch.testing.assert_close(blurred[0], tv.gaussian_blur(x[0], [9, 9], [0.5, 0.5]), atol=1e-5, rtol=0)
    torch.testing.assert_close(blurred[2], tv.gaussian_blur(x[2], [9, 9], [1.5, 1.5]), atol=1e-5, rtol=0)
    assert torch.equal(blurred[~some], x[~some])


def test_normalising_subtracts_the_mean_and_divides_by_the_deviation():
    config = AugmentConfig(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    value = normalised(torch.ones(1, 3, 1, 1), config)
    assert value.flatten().tolist() == [1.0, 3.0, 0.5]


def test_rates_are_those_of_the_config():
    """10,000 crops; each rate within 5 standard errors (at most 0.025). Weak blur falls in the half without blur."""
    n = np.arange(10_000)
    drawn = draw_looks(AugmentConfig(), 0, n, n * 0, n * 0, local=False)
    assert abs(drawn.flip.float().mean() - 0.5) < 0.025
    assert abs(drawn.gray.float().mean() - 0.2) < 0.025
    assert abs((drawn.sigma > 0).float().mean() - 0.55) < 0.025
    assert abs(drawn.solarise.float().mean() - 0.1) < 0.025
    assert not (drawn.solarise & (drawn.sigma > 0)).float().mean() > 0.05
    jittered = (drawn.strength != torch.tensor([1.0, 1.0, 1.0, 0.0])).any(1)
    assert abs(jittered.float().mean() - 0.8) < 0.025
    low, high = drawn.strength.amin(0), drawn.strength.amax(0)
    torch.testing.assert_close(low, torch.tensor([0.6, 0.6, 0.8, -0.1]), atol=0.01, rtol=0)
    torch.testing.assert_close(high, torch.tensor([1.4, 1.4, 1.2, 0.1]), atol=0.01, rtol=0)


def test_local_crops_are_blurred_by_half_and_never_solarised():
    n = np.arange(10_000)
    drawn = draw_looks(AugmentConfig(), 0, n, n * 0, n * 0 + 1, local=True)
    assert abs((drawn.sigma > 0).float().mean() - 0.5) < 0.025
    assert not drawn.solarise.any()


def test_a_crop_looks_the_same_alone_and_in_a_batch():
    n = np.arange(8)
    together = draw_looks(AugmentConfig(), 0, n, n % 2, n * 0, local=False)
    crops = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    whole = augment(crops, together, AugmentConfig())
    alone = draw_looks(AugmentConfig(), 0, n[5:6], n[5:6] % 2, n[5:6] * 0, local=False)
    torch.testing.assert_close(augment(crops[5:6], alone, AugmentConfig())[0], whole[5], atol=1e-6, rtol=0)


def test_pillow_agrees_on_what_contrast_is():
    """Not only torchvision: Pillow's ImageEnhance.Contrast blends with the mean of the gray image, rounded."""
    from PIL import ImageEnhance

    pixels = pictures(1)[0].permute(1, 2, 0).numpy()
    theirs = np.array(ImageEnhance.Contrast(Image.fromarray(pixels)).enhance(1.3))
    ours = augment(pictures(1), looks(1, strength=strength(CONTRAST, [1.3])), JITTER)[0].permute(1, 2, 0) * 255
    assert np.abs(ours.numpy() - theirs).max() < 2
