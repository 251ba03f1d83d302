"""All stages at once, from concepts to an evaluated encoder."""

from collections.abc import Sequence
from typing import Final

from torchx.specs import AppDef, Role

from components.caption import caption_role
from components.overrides import sort_out
from components.pretrain import pretrain_role
from components.render import labelled as labelled_under
from components.render import render_role
from components.roles import LaunchError, arguments, checked, role
from config import Section
from config.tree import unknown
from generator.config import GenerateConfig
from generator.recipes import RECIPES as GENERATE
from trainer.config import EvaluateConfig, PretrainConfig
from trainer.recipes import EVALUATIONS
from trainer.recipes import RECIPES as PRETRAIN

ROLES: Final = ("caption", "image", "pretrain", "evaluate", "render")
WEEK: Final = str(7 * 24 * 3600)  # seconds that a stage waits for the one before it


def pipeline(
    *overrides: str,
    recipe: str = "nano",
    generate: str = "",
    pretrain: str = "",
    evaluate: str = "",
    root: str = "",
    data: str = "",
    captioners: int = 1,
    generators: int = 1,
    nodes: int = 1,
    nproc_per_node: int = 1,
    mlflow: str = "",
    images: dict[str, str] | None = None,
    threads: int = 0,
    pool: str = "",
    pools: dict[str, str] | None = None,
) -> AppDef:
    """Takes concepts to an evaluated encoder. All stages start together; each works on what those before it have
    committed, and waits for more.

    Args:
        overrides: after `--`, keys of the stages' recipes with their values, as in `-- --caption.count 400
            --schedule.steps 200`; each goes to every stage that has the key
        recipe: name of the recipe of all stages
        generate: recipe of generator/recipes, if it has another name
        pretrain: recipe of trainer/recipes, if it has another name
        evaluate: recipe of the evaluation, if it has another name
        root: where the run lives, a path or a URI of file:, s3:, gs: or az:; empty means runs/<recipe>
        data: labelled images to evaluate on; empty means renders of the small world, which one more role makes
        captioners: workers that write captions
        generators: workers that paint
        nodes: machines that pretrain
        nproc_per_node: pretraining processes per machine; one per GPU
        mlflow: MLflow's tracking URI; empty means the recipes'
        images: container image per role, as in caption=captioner:1,pretrain=trainer:1; empty means the released ones
        threads: threads of each process on a CPU; 0 leaves it to the libraries
        pool: node pool of the cluster, of helm/reverie/files/pools.yaml; empty means the scheduler's; not used on this
            machine
        pools: node pool per role, for those with another, as in caption=a100x8,image=l4x1
    """
    root = root or f"runs/{recipe}"
    images = images or {}
    pools = pools or {}
    given = sort_out(overrides, (GenerateConfig, PretrainConfig, EvaluateConfig))

    def argv(config: type[Section], name: str, *flags: str) -> tuple[str, ...]:
        return arguments(name or recipe, root, mlflow, (*flags, *given[config]))

    making = argv(GenerateConfig, generate)
    checked(GenerateConfig, GENERATE, making)
    training = argv(PretrainConfig, pretrain, "--batch.wait", WEEK)
    run = checked(PretrainConfig, PRETRAIN, training).run
    labelled = data or labelled_under(root)
    judging = argv(EvaluateConfig, evaluate, "--run", run, "--data", labelled, "--wait", WEEK)
    checked(EvaluateConfig, EVALUATIONS, judging)

    def one(name: str, command: Sequence[str], replicas: int = 1) -> Role:
        return role(
            name, command, image=images.get(name, ""), replicas=replicas, threads=threads, pool=pools.get(name, pool)
        )

    for kind, named in (("images", images), ("pools", pools)):
        for name in named:
            if name not in ROLES:
                raise LaunchError(f"--{kind}: {unknown('role', name, ROLES)}")
    roles = [
        caption_role(making, captioners, images.get("caption", ""), "python", threads, pools.get("caption", pool)),
        one("image", ("-m", "generator.image", *making), generators),
        pretrain_role(
            training, nodes, nproc_per_node, images.get("pretrain", ""), threads, pools.get("pretrain", pool)
        ),
        one("evaluate", ("-m", "trainer.evaluate", *judging)),
    ]
    if not data:
        roles.append(render_role(labelled, images.get("render", ""), threads, pools.get("render", pool)))
    return AppDef("pipeline", roles)
