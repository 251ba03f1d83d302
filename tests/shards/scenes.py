"""Samples and shards that the tests of this folder share."""

import random
from collections.abc import Iterator

from shards import Marker, Sample, Storage, commit


def image_samples(count: int, seed: int = 0, size: int = 3000) -> list[Sample]:
    """`count` samples shaped as in <root>/images: four pictures (random bytes), a caption and its record."""
    rng = random.Random(seed)
    return [
        Sample(
            f"c{index:09d}",
            {f"{view}.jpg": rng.randbytes(rng.randrange(1, size)) for view in range(4)}
            | {"txt": f"a caption of scene {index}".encode(), "json": b'{"seed": %d}' % index},
        )
        for index in range(count)
    ]


def commit_images(
    storage: Storage, unit: str = "000000", count: int = 12, attempt: str = "a1", units: int = 4, seed: int = 0
) -> Marker:
    """A committed shard of `image_samples`."""
    samples = image_samples(count, seed)
    return commit(
        storage,
        "images",
        unit,
        samples,
        units=units,
        attempt=attempt,
        statistics={"made": count},
        config={"seed": seed},
    )


def failing(samples: list[Sample], after: int) -> Iterator[Sample]:
    """Yields some samples, then dies as an engine does in the middle of its work."""
    yield from samples[:after]
    raise RuntimeError("the engine died")
