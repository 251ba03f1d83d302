"""Stage `caption`: a language model writes captions about concepts."""

from collections.abc import Sequence

from torchx.specs import AppDef, Role

from components.roles import arguments, checked, role
from generator.config import GenerateConfig
from generator.recipes import RECIPES


def caption(
    *overrides: str,
    recipe: str = "nano",
    root: str = "",
    replicas: int = 1,
    mlflow: str = "",
    image: str = "",
    python: str = "python",
    threads: int = 0,
    pool: str = "",
) -> AppDef:
    """Writes captions: concepts in, caption shards out. Any number of workers share the work.

    On a cluster each worker is a pod with one GPU, or with caption.vllm.tensor_parallel of them.

    Args:
        overrides: after `--`, keys of the recipe with their values, as in `-- --caption.count 400`; the keys are listed
            by `python -m generator.caption --help`
        recipe: recipe of generator/recipes
        root: where the run lives, a path or a URI of file:, s3:, gs: or az:; empty means runs/<recipe>
        replicas: workers
        mlflow: MLflow's tracking URI; empty means the recipe's
        image: container image; empty means the released one; not used on this machine
        python: Python of the workers; for vLLM on this machine .venv-vllm/bin/python
        threads: threads of each worker on a CPU; 0 leaves it to the library
        pool: node pool of the cluster, of helm/reverie/files/pools.yaml; empty means the scheduler's; not used on this
            machine
    """
    argv = arguments(recipe, root, mlflow, overrides)
    return AppDef("caption", [caption_role(argv, replicas, image, python, threads, pool)])


def caption_role(argv: Sequence[str], replicas: int, image: str, python: str, threads: int, pool: str) -> Role:
    """The role `caption`: workers that share the units, each with the GPUs that its model is spread over.

    Raises:
        LaunchError: the config is wrong, or no node has that many GPUs.
    """
    caption = checked(GenerateConfig, RECIPES, argv).caption
    gpus = caption.vllm.tensor_parallel if caption.engine == "vllm" else 1
    command = ("-m", "generator.caption", *argv)
    return role(
        "caption", command, image=image, python=python, replicas=replicas, threads=threads, pool=pool, gpus=gpus
    )
