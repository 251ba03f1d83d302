"""A grid shows every image, and every caption where it fits."""

import pytest
from PIL import Image, ImageFont

from tracking.grid import GAP, LINES, MARGIN, grid, wrap

RED = Image.new("RGB", (8, 8), (255, 0, 0))


def test_images_are_where_they_belong() -> None:
    blue = Image.new("RGB", (500, 500), (0, 0, 255))
    page = grid([("two", [RED, blue]), ("more", [blue, RED]), ("third", [RED, RED])], side=20, columns=2)
    across = 2 * (20 + GAP) - GAP
    assert page.width == 2 * (across + MARGIN) + MARGIN
    first, second = (MARGIN + 10, MARGIN + 10), (MARGIN + 20 + GAP + 10, MARGIN + 10)
    assert page.getpixel(first) == (255, 0, 0)
    assert page.getpixel(second) == (0, 0, 255)
    assert page.getpixel((first[0] + across + MARGIN, first[1])) == (0, 0, 255)


def test_the_caption_is_drawn_under_its_row() -> None:
    page = grid([("a red star in the snow", [RED] * 4)], side=40)
    text = page.crop((0, MARGIN + 40 + GAP, page.width, page.height))
    assert min(low for low, _ in text.getextrema()) < 100  # type: ignore[misc]


def test_captions_wrap_and_end_in_an_ellipsis() -> None:
    font = ImageFont.load_default(13)
    assert wrap("short", font, 200) == ["short"]
    lines = wrap("a large striped red star " * 10, font, 200)
    assert len(lines) == LINES
    assert all(font.getlength(line) <= 200 for line in lines)
    assert lines[-1].endswith("…")
    assert wrap("", font, 200) == [""]


def test_an_empty_grid_is_refused() -> None:
    none: list[Image.Image] = []
    for groups in ([], [("no images", none)]):
        with pytest.raises(ValueError, match="at least one"):
            grid(groups)
