"""Stage `evaluate`: what a frozen encoder's features are good for."""

from torchx.specs import AppDef

from components.roles import arguments, checked, role
from trainer.config import EvaluateConfig
from trainer.recipes import EVALUATIONS


def evaluate(
    *overrides: str,
    recipe: str = "nano",
    root: str = "",
    run: str = "",
    data: str = "",
    mlflow: str = "",
    image: str = "",
    threads: int = 0,
    pool: str = "",
) -> AppDef:
    """Evaluates an encoder: a checkpoint and labelled images in, results out.

    Args:
        overrides: after `--`, keys of the recipe with their values, as in `-- --linear_probe.epochs 30`; the keys are
            listed by `python -m trainer.evaluate --help`
        recipe: recipe of the evaluation
        root: where the run lives, a path or a URI of file:, s3:, gs: or az:; empty means runs/<recipe>
        run: pretraining run whose encoder is evaluated; empty means the recipe's
        data: labelled images; empty means <root>/labelled
        mlflow: MLflow's tracking URI; empty means the recipe's
        image: container image; empty means the released one; not used on this machine
        threads: threads on a CPU; 0 leaves it to the library
        pool: node pool of the cluster, of helm/reverie/files/pools.yaml; empty means the scheduler's; not used on this
            machine
    """
    flags = [f"--{key}={value}" for key, value in (("run", run), ("data", data)) if value]
    argv = arguments(recipe, root, mlflow, (*flags, *overrides))
    checked(EvaluateConfig, EVALUATIONS, argv)
    command = ("-m", "trainer.evaluate", *argv)
    return AppDef("evaluate", [role("evaluate", command, image=image, threads=threads, pool=pool)])
