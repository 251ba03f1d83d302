"""Captions and their images as one picture: what a person looks at first."""

from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

GAP: Final = 4  # pixels between images, and around the text
MARGIN: Final = 16  # pixels between groups
LINES: Final = 2  # of text under a row; longer captions end in an ellipsis
INK, PAPER = (30, 30, 30), (255, 255, 255)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def grid(
    groups: Sequence[tuple[str, Sequence[Image.Image]]], *, side: int = 96, columns: int = 2, text_size: int = 13
) -> Image.Image:
    """A picture of groups, each a row of images with its caption under it.

    Args:
        groups: caption and its images, the same number (four) in every group.
        side: pixels that an image gets; smaller ones are enlarged without smoothing, larger ones shrunk.
        columns: groups side by side.

    Raises:
        ValueError: no groups, or a group without images.
    """
    if not groups or not all(images for _, images in groups):
        raise ValueError("a grid needs at least one group, and every group at least one image")
    font = ImageFont.load_default(text_size)
    line = round(text_size * 1.3)
    across = max(len(images) for _, images in groups)
    width, height = across * (side + GAP) - GAP, side + 2 * GAP + LINES * line
    columns = min(columns, len(groups))
    rows = -(-len(groups) // columns)
    page = Image.new("RGB", (columns * (width + MARGIN) + MARGIN, rows * (height + MARGIN) + MARGIN), PAPER)
    for i, (caption, images) in enumerate(groups):
        x, y = MARGIN + i % columns * (width + MARGIN), MARGIN + i // columns * (height + MARGIN)
        _row(page, images, x, y, side)
        for n, words in enumerate(wrap(caption, font, width)):
            ImageDraw.Draw(page).text((x, y + side + GAP + n * line), words, INK, font)
    return page


def wrap(caption: str, font: Font, width: int) -> list[str]:
    """The caption in at most `LINES` lines of at most `width` pixels."""
    lines, words = [""], caption.split()
    for i, word in enumerate(words):
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or font.getlength(longer) <= width:
            lines[-1] = longer
        elif len(lines) < LINES:
            lines.append(word)
        else:
            lines[-1] += " " + " ".join(words[i:])
            break
    return [_cut(line, font, width) for line in lines]


def _cut(line: str, font: Font, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(line + "…") > width:
        line = line[:-1]
    return line.rstrip() + "…"


def _row(page: Image.Image, images: Sequence[Image.Image], x: int, y: int, side: int) -> None:
    for n, image in enumerate(images):
        how = Image.Resampling.NEAREST if max(image.size) <= side else Image.Resampling.LANCZOS
        page.paste(image.convert("RGB").resize((side, side), how), (x + n * (side + GAP), y))
