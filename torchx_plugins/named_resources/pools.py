"""The node pools as TorchX's named resources, for TorchX's own components: `torchx run dist.torchrun -h h100x8 ...`.

TorchX finds this module by its place (`torchx_plugins/named_resources`). A pool of n GPUs is there whole and in halves:
`h100x8`, `h100x8_4`, `h100x8_2`, `h100x8_1`. Components of ours take `--pool`.
"""

from collections.abc import Iterator

from torchx.plugins import register
from torchx.specs import Resource

from components.pools import Pool, pools


def shares(pool: Pool) -> Iterator[int]:
    """Halves of a pool's GPUs, down to one: 4, 2, 1 of 8."""
    gpus = pool.gpus // 2
    while gpus:
        yield gpus
        gpus //= 2


def _register(name: str, pool: Pool, gpus: int) -> None:
    @register.named_resource(name=name)
    def resource() -> Resource:
        return pool.resource(gpus)


for _pool in pools():
    _register(_pool.name, _pool, _pool.gpus)
    for _gpus in shares(_pool):
        _register(f"{_pool.name}_{_gpus}", _pool, _gpus)
