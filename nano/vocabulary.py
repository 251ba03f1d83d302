"""The words of the small world: its classes, how they look in numbers, and how a caption may name them.

Everything that must agree between renderer, captions, captioner, painter and judge stands here once.
"""

from typing import Final

SHAPES: Final = (
    "disc", "square", "triangle", "star", "heart", "cross", "crescent", "ring",
    "arrow", "drop", "bolt", "flower", "bowtie", "bar", "fish", "mushroom",
)  # fmt: skip

# Saturated and far apart in RGB, so that a colour can be told on every (muted) background.
COLOURS: Final[dict[str, tuple[float, float, float]]] = {
    "red": (0.88, 0.10, 0.12),
    "orange": (1.00, 0.55, 0.05),
    "yellow": (1.00, 0.93, 0.15),
    "green": (0.10, 0.70, 0.18),
    "cyan": (0.15, 0.88, 0.92),
    "blue": (0.10, 0.22, 0.92),
    "purple": (0.55, 0.12, 0.78),
    "pink": (1.00, 0.50, 0.78),
    "white": (1.00, 1.00, 1.00),
    "black": (0.04, 0.04, 0.04),
}


def shades(colour: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The second tone of a colour's patterns and the tone of its rim; both keep the hue."""
    if colour == "black":
        return (0.36,) * 3, (0.62,) * 3
    dim = 0.66 if colour == "white" else 0.42
    return tuple(dim * c for c in COLOURS[colour]), tuple(0.25 * c for c in COLOURS[colour])


TEXTURES: Final = ("solid", "striped", "dotted", "checkered", "ringed", "halved")
BACKGROUNDS: Final = ("meadow", "sand", "night sky", "brick wall", "wooden floor", "snow", "sea", "stone")
RELATIONS: Final = ("left of", "right of", "above", "below")

# Radius of the object as a share of the picture's side. Gaps between the classes keep them tellable apart.
SIZES: Final[dict[str, tuple[float, float]]] = {"small": (0.20, 0.22), "medium": (0.26, 0.28), "large": (0.33, 0.36)}
PAIR_RADIUS: Final = (0.18, 0.21)

SIZE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium",),
    "large": ("large", "big", "huge"),
}
TEXTURE_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "solid": ("solid", "plain"),
    "striped": ("striped", "lined"),
    "dotted": ("dotted", "spotted"),
    "checkered": ("checkered", "tiled"),
    "ringed": ("ringed", "banded"),
    "halved": ("halved", "split"),
}
# How a caption may place something on each background; every phrase holds the background's own name.
BACKGROUND_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "meadow": ("in a meadow", "on a green meadow", "in the meadow"),
    "sand": ("on sand", "on the sand", "on warm sand"),
    "night sky": ("in the night sky", "against a night sky", "under a night sky"),
    "brick wall": ("on a brick wall", "in front of a brick wall", "against an old brick wall"),
    "wooden floor": ("on a wooden floor", "on the wooden floor", "lying on a wooden floor"),
    "snow": ("in the snow", "on fresh snow", "in snow"),
    "sea": ("in the sea", "on the open sea", "floating in the sea"),
    "stone": ("on stone", "on grey stone", "on a slab of stone"),
}
POSITION_PHRASES: Final[dict[tuple[int, int], tuple[str, ...]]] = {
    (-1, -1): ("at the top left", "in the upper left corner"),
    (0, -1): ("at the top", "near the top"),
    (1, -1): ("at the top right", "in the upper right corner"),
    (-1, 0): ("on the left", "at the left side"),
    (0, 0): ("in the middle", "in the centre"),
    (1, 0): ("on the right", "at the right side"),
    (-1, 1): ("at the bottom left", "in the lower left corner"),
    (0, 1): ("at the bottom", "near the bottom"),
    (1, 1): ("at the bottom right", "in the lower right corner"),
}
RELATION_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
    "above": ("above", "right above"),
    "below": ("below", "just below"),
}
OPENINGS: Final = ("", "", "", "a picture of ", "a photo of ", "an image of ", "a drawing of ", "a view of ")
