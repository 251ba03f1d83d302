"""Caption engines: libraries that run a language model, behind one interface.

| name | library | for |
|---|---|---|
| `transformers` | Hugging Face transformers | everywhere; the light default |
| `vllm` | vLLM, in an environment of its own (`make vllm-env`) | throughput on GPUs; also runs on CPUs |
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from generator.config import CaptionConfig


class CaptionEngine(Protocol):
    """Continues prompts."""

    versions: Mapping[str, str]
    """Library -> version: with the settings, what the words depend on."""

    def complete(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """What the model writes after each prompt, up to its first newline.

        The answer depends on the prompts, seeds and settings of this call alone. `transformers` makes each caption
        depend on its own prompt and seed up to rounding; bits are promised for an equal call, which is a unit of work.
        """


def build(config: CaptionConfig) -> CaptionEngine:
    """The engine that the config names, with its model loaded.

    Raises:
        ConfigError: the library is not installed here, or the model is not one it can load.
    """
    return ENGINES[config.engine](config)


# Imported when asked for: each environment holds only one of the libraries' versions.
def _transformers(config: CaptionConfig) -> CaptionEngine:
    from generator.engines.transformers import TransformersEngine

    return TransformersEngine(config)


def _vllm(config: CaptionConfig) -> CaptionEngine:
    from generator.engines.vllm import VllmEngine

    return VllmEngine(config)


ENGINES: Final[dict[str, Callable[[CaptionConfig], CaptionEngine]]] = {"transformers": _transformers, "vllm": _vllm}
