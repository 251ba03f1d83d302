"""The eight backgrounds: muted, so that the saturated objects stand out, each with a structure of its own."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def paint(name: str, x: Array, y: Array, rng: np.random.Generator) -> Array:
    """The picture [H, W, 3] of a background in 0..1, at pixel centres x, y [H, W]; `rng` gives its grain and phase."""
    phase, across = rng.random(2, np.float32)
    grain = rng.standard_normal(x.shape, np.float32)
    base, light = _TONES[name]
    tone = _structure(name, x, y, np.float32(phase), np.float32(across), grain)[..., None]
    brightness = np.float32(1 + 0.06 * rng.standard_normal())
    return np.asarray((base * (1 - tone) + light * tone) * brightness, np.float32)


_TONES: dict[str, tuple[Array, Array]] = {
    name: (np.asarray(dark, np.float32), np.asarray(light, np.float32))
    for name, dark, light in (
        ("meadow", (0.30, 0.40, 0.22), (0.52, 0.62, 0.38)),
        ("sand", (0.72, 0.62, 0.46), (0.88, 0.80, 0.64)),
        ("night sky", (0.10, 0.11, 0.24), (0.85, 0.85, 0.75)),
        ("brick wall", (0.56, 0.32, 0.26), (0.76, 0.70, 0.66)),
        ("wooden floor", (0.36, 0.25, 0.16), (0.58, 0.43, 0.29)),
        ("snow", (0.74, 0.80, 0.88), (0.90, 0.93, 0.97)),
        ("sea", (0.22, 0.40, 0.48), (0.45, 0.62, 0.68)),
        ("stone", (0.40, 0.40, 0.41), (0.60, 0.60, 0.60)),
    )
}


def _structure(name: str, x: Array, y: Array, phase: np.float32, across: np.float32, grain: Array) -> Array:
    """How much of the light tone each pixel shows, 0..1."""
    match name:
        case "meadow":  # short upright blades
            blades = np.sin(2 * np.pi * (13 * x + phase + 0.3 * np.sin(9 * y + 6 * across)))
            value = 0.5 + 0.25 * blades + 0.16 * grain
        case "sand":  # soft slanted ripples
            value = 0.5 + 0.3 * np.sin(2 * np.pi * (3 * y + 1.2 * x + phase)) + 0.08 * grain
        case "night sky":  # scattered stars
            value = np.where(grain > 2.35, 1.0, 0.04 + 0.02 * np.abs(grain))
        case "brick wall":
            row = np.floor(5 * y + phase)
            upright = np.mod(3 * x + across + 0.5 * np.mod(row, 2), 1) < 0.09
            value = np.where((np.mod(5 * y + phase, 1) < 0.16) | upright, 1.0, 0.12 + 0.06 * grain)
        case "wooden floor":  # long planks with dark joints
            plank = np.mod(4 * y + phase, 1)
            value = np.where(plank < 0.12, 0.0, 0.62 + 0.15 * np.sin(40 * y + 5 * np.sin(4 * x + 9 * across)))
        case "snow":  # broad drifts
            value = 0.55 + 0.3 * np.sin(2 * np.pi * (0.8 * x + phase)) * np.sin(2 * np.pi * (y + across)) + 0.1 * grain
        case "sea":  # waves
            value = 0.4 + 0.4 * np.sin(2 * np.pi * (6 * y + 0.35 * np.sin(2 * np.pi * (2 * x + across)) + phase))
        case _:  # stone: coarse blotches
            coarse = np.repeat(np.repeat(grain[::6, ::6], 6, 0), 6, 1)[: x.shape[0], : x.shape[1]]
            value = 0.5 + 0.22 * coarse + 0.06 * grain
    return np.asarray(np.clip(value, 0, 1), np.float32)
