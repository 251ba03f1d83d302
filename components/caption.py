"""Stage `caption`: a language model writes captions about concepts."""

from torchx.specs import AppDef

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
) -> AppDef:
    """Writes captions: concepts in, caption shards out. Any number of workers share the work.

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
    """
    argv = arguments(recipe, root, mlflow, overrides)
    checked(GenerateConfig, RECIPES, argv)
    command = ("-m", "generator.caption", *argv)
    return AppDef("caption", [role("caption", command, image=image, python=python, replicas=replicas, threads=threads)])
