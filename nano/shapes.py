"""The sixteen silhouettes as signed distances, and the six textures as two-tone patterns.

Local coordinates: the object's centre is (0, 0), its radius 1, y points down as in the picture.
A distance is negative inside; near the outline it is in the same unit as the coordinates.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Distance = Callable[[Array, Array], Array]

_EXTENT = 1.5  # the tabulated square reaches this far from the centre; all silhouettes end before 1.15
_CELLS = 192


def _disc(cx: float, cy: float, radius: float) -> Distance:
    return lambda x, y: np.hypot(x - cx, y - cy) - radius


def _polygon(*points: tuple[float, float]) -> Distance:
    """Exact signed distance to a closed polygon: nearest edge, sign by the even-odd rule."""

    def distance(x: Array, y: Array) -> Array:
        nearest = np.full(x.shape, np.inf)
        inside = np.zeros(x.shape, bool)
        for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
            ex, ey, px, py = bx - ax, by - ay, x - ax, y - ay
            along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)
            nearest = np.minimum(nearest, np.hypot(px - along * ex, py - along * ey))
            if ay != by:
                inside ^= ((ay > y) != (by > y)) & (x < ex * (y - ay) / ey + ax)
        return np.where(inside, -nearest, nearest)

    return distance


def _union(*parts: Distance) -> Distance:
    return lambda x, y: np.minimum.reduce([part(x, y) for part in parts])


def _cut(whole: Distance, hole: Distance) -> Distance:
    return lambda x, y: np.maximum(whole(x, y), -hole(x, y))


def _polar(radius: Callable[[float], float], count: int) -> Distance:
    angles = [2 * np.pi * i / count - np.pi / 2 for i in range(count)]
    return _polygon(*((radius(a) * np.cos(a), radius(a) * np.sin(a)) for a in angles))


def _heart() -> Distance:
    turns = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(turns) ** 3
    y = 13 * np.cos(turns) - 5 * np.cos(2 * turns) - 2 * np.cos(3 * turns) - np.cos(4 * turns)
    return _polygon(*((a / 16.5, -(b + 2) / 15.5) for a, b in zip(x.tolist(), y.tolist(), strict=True)))


def _star() -> Distance:
    corners = [((1.08 if i % 2 == 0 else 0.45), np.pi * i / 5 - np.pi / 2) for i in range(10)]
    return _polygon(*((r * np.cos(a), r * np.sin(a)) for r, a in corners))


_SILHOUETTES: dict[str, Distance] = {
    "disc": _disc(0, 0, 0.92),
    "square": _polygon((-0.78, -0.78), (0.78, -0.78), (0.78, 0.78), (-0.78, 0.78)),
    "triangle": _polygon((0, -1.0), (0.98, 0.72), (-0.98, 0.72)),
    "star": _star(),
    "heart": _heart(),
    "cross": _union(
        _polygon((-0.3, -1), (0.3, -1), (0.3, 1), (-0.3, 1)), _polygon((-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3))
    ),
    "crescent": _cut(_disc(-0.05, 0, 1.0), _disc(0.42, 0, 0.82)),
    "ring": _cut(_disc(0, 0, 1.0), _disc(0, 0, 0.52)),
    "arrow": _polygon((0, -1.05), (0.85, -0.15), (0.3, -0.15), (0.3, 1), (-0.3, 1), (-0.3, -0.15), (-0.85, -0.15)),
    "drop": _union(_disc(0, 0.38, 0.6), _polygon((0, -1.1), (0.54, 0.12), (-0.54, 0.12))),
    "bolt": _polygon((0.25, -1.1), (-0.7, 0.2), (-0.12, 0.2), (-0.32, 1.1), (0.7, -0.28), (0.1, -0.28)),
    "flower": _polar(lambda a: 0.84 + 0.22 * np.cos(6 * a), 96),
    "bowtie": _polygon((-1, -0.75), (0, -0.18), (1, -0.75), (1, 0.75), (0, 0.18), (-1, 0.75)),
    "bar": _polygon((-1.08, -0.34), (1.08, -0.34), (1.08, 0.34), (-1.08, 0.34)),
    "fish": _union(_polar(lambda a: 0.55 / np.hypot(0.72 * np.cos(a), np.sin(a)), 48),
                   _polygon((0.45, 0), (1.12, -0.62), (1.12, 0.62))),
    "mushroom": _union(
        _cut(_disc(0, 0, 1.0), _polygon((-2, 0.02), (2, 0.02), (2, 2), (-2, 2))),
        _polygon((-0.3, -0.1), (0.3, -0.1), (0.36, 1.0), (-0.36, 1.0)),
    ),
}  # fmt: skip


@lru_cache
def _table(shape: str) -> Array:
    """The distance sampled once on a grid; looking it up is many times faster than 80 polygon edges a pixel."""
    axis = np.linspace(-_EXTENT, _EXTENT, _CELLS, dtype=np.float32)
    x, y = np.meshgrid(axis, axis)
    return _SILHOUETTES[shape](x, y).astype(np.float32)


def distance(shape: str, x: Array, y: Array) -> Array:
    """Signed distance of the points (x, y) to the outline of `shape`, bilinear from a table."""
    table = _table(shape)
    scale = (_CELLS - 1) / (2 * _EXTENT)
    column = np.clip((x + _EXTENT) * scale, 0, _CELLS - 1.001)
    row = np.clip((y + _EXTENT) * scale, 0, _CELLS - 1.001)
    j, i = column.astype(np.int32), row.astype(np.int32)
    fx, fy = column - j, row - i
    top = table[i, j] * (1 - fx) + table[i, j + 1] * fx
    bottom = table[i + 1, j] * (1 - fx) + table[i + 1, j + 1] * fx
    return np.asarray(top * (1 - fy) + bottom * fy, np.float32)


def pattern(texture: str, x: Array, y: Array) -> Array:
    """How much of the second tone each point (x, y) shows, 0 or 1."""
    match texture:
        case "striped":
            dark = np.sin(2 * np.pi * x / 0.62) > 0
        case "dotted":
            dark = np.hypot(*((np.mod(v / 0.58 + 0.5, 1) - 0.5) for v in (x, y))) < 0.30
        case "checkered":
            dark = np.sin(np.pi * x / 0.42) * np.sin(np.pi * y / 0.42) > 0
        case "ringed":
            dark = np.cos(2 * np.pi * np.hypot(x, y) / 0.62) < -0.1
        case "halved":
            dark = y > 0
        case _:
            dark = np.zeros(x.shape, bool)
    return np.asarray(dark, np.float32)
