"""Stage `image`: a diffusion model paints images of captions."""

from torchx.specs import AppDef

from components.roles import arguments, checked, role
from generator.config import GenerateConfig
from generator.recipes import RECIPES


def generate(
    *overrides: str,
    recipe: str = "nano",
    root: str = "",
    replicas: int = 1,
    mlflow: str = "",
    image: str = "",
    threads: int = 0,
    pool: str = "",
) -> AppDef:
    """Paints images: caption shards in, image shards out. Any number of workers share the work, while captions come in.

    On a cluster each worker is a pod with one GPU, and may be stopped at any time: it loses its lease and nothing else.

    Args:
        overrides: after `--`, keys of the recipe with their values, as in `-- --image.steps 30`; the keys are listed by
            `python -m generator.image --help`
        recipe: recipe of generator/recipes
        root: where the run lives, a path or a URI of file:, s3:, gs: or az:; empty means runs/<recipe>
        replicas: workers
        mlflow: MLflow's tracking URI; empty means the recipe's
        image: container image; empty means the released one; not used on this machine
        threads: threads of each worker on a CPU; 0 leaves it to the library
        pool: node pool of the cluster, of helm/reverie/files/pools.yaml; empty means the scheduler's; not used on this
            machine
    """
    argv = arguments(recipe, root, mlflow, overrides)
    checked(GenerateConfig, RECIPES, argv)
    command = ("-m", "generator.image", *argv)
    return AppDef("generate", [role("image", command, image=image, replicas=replicas, threads=threads, pool=pool)])
