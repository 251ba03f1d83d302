"""What the components share: arguments of a stage from those of a component, checked, and the role that runs them."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Final, TypeVar
from urllib.parse import urlsplit

from torchx.specs import Role

from components.errors import LaunchError as LaunchError
from components.pools import pool as pool_named
from config import ConfigError, Section
from config.cli import resolve

C = TypeVar("C", bound=Section)

IMAGES: Final = {"caption": "captioner", "image": "generator", "pretrain": "trainer", "evaluate": "trainer"}
SCHEMES: Final = ("file", "s3", "gs", "az")  # what separate processes can share
ELASTIC: Final = frozenset({"caption", "image"})  # roles whose workers claim units: any number may come and go


def arguments(recipe: str, root: str, mlflow: str, overrides: Sequence[str]) -> tuple[str, ...]:
    """The command line of a stage. Overrides come last and so win.

    Raises:
        LaunchError: nothing can be stored under such a root.
    """
    root = root or f"runs/{recipe}"
    scheme, separator, _ = root.partition("://")
    if (separator and scheme not in SCHEMES) or urlsplit(root).scheme == "memory":
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise LaunchError(f"--root: no storage {root}; known: {known}, or a path")
    tracking = ("--tracking.uri", mlflow) if mlflow else ()
    return ("--recipe", recipe, "--root", root, *tracking, *overrides)


def checked(config: type[C], recipes: Mapping[str, Callable[[], C]], argv: Sequence[str]) -> C:
    """The config that a stage will make of its command line.

    Raises:
        LaunchError: it will not accept it, with the line that it would print.
    """
    try:
        return resolve(config, recipes, argv)
    except LaunchError:
        raise
    except ConfigError as error:
        raise LaunchError(str(error)) from None


def role(
    name: str,
    command: Sequence[str],
    *,
    image: str,
    python: str = "python",
    replicas: int = 1,
    threads: int = 0,
    pool: str = "",
    gpus: int = 1,
) -> Role:
    """`replicas` processes of `python command`, in the stage's image.

    On a cluster each is a pod on nodes of `pool`, with `gpus` of a node's GPUs if those have any. Without a pool the
    scheduler decides.

    Raises:
        LaunchError: no such pool, its nodes have fewer GPUs, or fewer than one replica.
    """
    if replicas < 1:
        raise LaunchError(f"--replicas: must be at least 1, got {replicas}")
    made = Role(
        name=name,
        image=image or default_image(name),
        entrypoint=python,
        args=[argument.replace("$", "$$") for argument in command],  # TorchX fills in ${macros}
        env={"OMP_NUM_THREADS": str(threads)} if threads else {},
        num_replicas=replicas,
    )
    if pool:
        made.resource = pool_named(pool).resource(gpus)
    return made


def default_image(stage: str) -> str:
    """The released image that has what a stage needs, of this version."""
    return f"ghcr.io/reverie/{IMAGES.get(stage, 'generator')}:{version('reverie')}"
