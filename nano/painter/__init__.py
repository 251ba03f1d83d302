"""The tiny text-to-image model of the small world, in diffusers' StableDiffusionPipeline format."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
