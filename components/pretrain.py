"""Stage `pretrain`: an encoder learns from image shards."""

import shlex
from collections.abc import Sequence
from typing import Final

from torchx.specs import AppDef, Role, macros

from components.roles import LaunchError, arguments, checked, role
from trainer.config import PretrainConfig
from trainer.recipes import RECIPES

PORT: Final = 29500  # of the rendezvous, on the first node


def pretrain(
    *overrides: str,
    recipe: str = "nano",
    root: str = "",
    nodes: int = 1,
    nproc_per_node: int = 1,
    mlflow: str = "",
    image: str = "",
    threads: int = 0,
    pool: str = "",
) -> AppDef:
    """Pretrains an encoder: image shards in, checkpoints out. torchrun starts the processes, DeepSpeed joins them.

    Args:
        overrides: after `--`, keys of the recipe with their values, as in `-- --schedule.steps 20`; the keys are listed
            by `python -m trainer.pretrain --help`
        recipe: recipe of trainer/recipes
        root: where the run lives, a path or a URI of file:, s3:, gs: or az:; empty means runs/<recipe>
        nodes: machines
        nproc_per_node: processes per machine; one per GPU
        mlflow: MLflow's tracking URI; empty means the recipe's
        image: container image; empty means the released one; not used on this machine
        threads: threads of each process on a CPU; 0 shares out the cores
        pool: node pool of the cluster, of helm/reverie/files/pools.yaml; empty means the scheduler's; not used on this
            machine
    """
    argv = arguments(recipe, root, mlflow, overrides)
    return AppDef("pretrain", [pretrain_role(argv, nodes, nproc_per_node, image, threads, pool)])


def pretrain_role(
    argv: Sequence[str], nodes: int, nproc_per_node: int, image: str, threads: int, pool: str = ""
) -> Role:
    """The role `pretrain`: a torchrun per node.

    Raises:
        LaunchError: the config is wrong, its batch cannot be shared out between so many processes, or a node has fewer
            GPUs than processes.
    """
    config = checked(PretrainConfig, RECIPES, argv)
    for name, value in (("nodes", nodes), ("nproc_per_node", nproc_per_node)):
        if value < 1:
            raise LaunchError(f"--{name}: must be at least 1, got {value}")
    world = nodes * nproc_per_node
    share = world * config.engine.accumulate
    if config.batch.captions % share:
        raise LaunchError(
            f"batch.captions must be divisible by {world} processes times engine.accumulate "
            f"({config.engine.accumulate}), got {config.batch.captions}; change --nodes, --nproc_per_node or the batch"
        )
    if threads:  # first, so that an override wins; else a process would share out the cores of its pod
        argv = ("--engine.threads", str(threads), *argv)
    workers = ("--nproc-per-node", str(nproc_per_node), "-m", "trainer.pretrain", *argv)
    if nodes == 1:
        alone = ("-m", "trainer.launch", "--standalone", "--local-addr", "localhost", *workers)
        return role("pretrain", alone, image=image, threads=threads, pool=pool, gpus=nproc_per_node)
    gang = role("pretrain", workers, image=image, replicas=nodes, threads=threads, pool=pool, gpus=nproc_per_node)
    return _together(gang)


def _together(one: Role) -> Role:
    """The same role with a meeting point: its first node, whose name the scheduler puts into the environment."""
    meeting = f"$${{{macros.rank0_env}:=localhost}}:{PORT}"
    torchrun = f"python -m trainer.launch --rdzv-backend c10d --rdzv-endpoint {meeting} --rdzv-id {macros.app_id}"
    one.args = ["-c", f"exec {torchrun} --nnodes {one.num_replicas} {shlex.join(one.args)}"]
    one.entrypoint = "bash"
    one.port_map = {"c10d": PORT}
    return one
