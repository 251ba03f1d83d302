"""How the encoder of each pretraining recipe is evaluated: the recipes have the same names."""

from collections.abc import Callable

from trainer.config import EvaluateConfig, LinearProbeConfig, PretrainConfig, ZeroShotConfig
from trainer.recipes import synclr


def nano() -> EvaluateConfig:
    """On labelled renders of the small world (`python -m nano.renders`): 30 epochs instead of 90, for a third
    of the time."""
    return EvaluateConfig(
        run=synclr.nano().run,
        tasks=("shape", "colour", "background", "texture", "shape_colour"),
        linear_probe=LinearProbeConfig(epochs=30),
        zero_shot=ZeroShotConfig(templates=("a {}", "a picture of a {}", "a photo of a {}", "an image of a {}")),
    )


def nano_long() -> EvaluateConfig:
    """The same for the longer run."""
    return nano().model_copy(update={"run": synclr.nano_long().run})


def vit_b16() -> EvaluateConfig:
    """The paper's probe at its batch of 1024, on labelled shards of yours: say where with `--data`."""
    base = EvaluateConfig(run=synclr.vit_b16().run)
    return base.model_copy(update={"linear_probe": base.linear_probe.model_copy(update={"batch": 1024})})


def vit_l14() -> EvaluateConfig:
    """As `vit_b16`."""
    return vit_b16().model_copy(update={"run": synclr.vit_l14().run})


def like(
    evaluation: Callable[[], EvaluateConfig], pretraining: Callable[[], PretrainConfig]
) -> Callable[[], EvaluateConfig]:
    """The same evaluation of another objective's run, so that objectives are compared by one yardstick."""

    def recipe() -> EvaluateConfig:
        return evaluation().model_copy(update={"run": pretraining().run})

    recipe.__doc__ = evaluation.__doc__
    return recipe
