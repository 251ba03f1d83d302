"""The engine `transformers`: batched generation in which every caption has dice of its own.

Shapes in names: B captions of a batch, T tokens of the padded prompt, N new tokens at most, V vocabulary.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LogitsProcessor, LogitsProcessorList

from config import ConfigError
from generator.config import CaptionConfig
from generator.engines.newlines import newline_ids
from generator.files import locate_model
from generator.models import device_of, dtype_of, loading

# Prompts are padded to a multiple of so many tokens, so that few different shapes reach the kernels.
_BLOCK: Final = 16


class TransformersEngine:
    """A causal language model of transformers in memory."""

    def __init__(self, config: CaptionConfig) -> None:
        self.config = config
        self.device = device_of(config.device, "caption.device")
        name = locate_model(config.model, "caption.model")
        transformers.logging.disable_progress_bar()  # the stage has its own
        with loading(name, "caption.model", "a causal language model"):
            self.tokenizer: Any = AutoTokenizer.from_pretrained(name)
            self.model: Any = AutoModelForCausalLM.from_pretrained(name, dtype=dtype_of(config.precision))
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model.eval().to(self.device)
        self.settings = _greedy(self.tokenizer, config.max_new_tokens)
        self.model.generation_config = GenerationConfig()  # a model's own sampling habits must not mix with ours
        self.versions: Mapping[str, str] = {"torch": torch.__version__, "transformers": transformers.__version__}

    def complete(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """See CaptionEngine."""
        assert len(prompts) == len(seeds)
        batch = self.config.batch
        parts = (slice(start, start + batch) for start in range(0, len(prompts), batch))
        return [text for part in parts for text in self._batch(prompts[part], seeds[part])]

    @torch.inference_mode()
    def _batch(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        # On the left: all prompts end together, and each goes on from its last token.
        inputs = self.tokenizer(
            list(prompts), return_tensors="pt", padding=True, padding_side="left", pad_to_multiple_of=_BLOCK
        )
        self._check_length(inputs["input_ids"].shape[1])
        dice = Dice(seeds, self.config)
        output_BT = self.model.generate(
            input_ids=inputs["input_ids"].to(self.device),
            attention_mask=inputs["attention_mask"].to(self.device),
            generation_config=self.settings,
            logits_processor=LogitsProcessorList([dice]),
        )
        new_BN = output_BT[:, inputs["input_ids"].shape[1] :]
        texts: list[str] = self.tokenizer.batch_decode(new_BN, skip_special_tokens=True)
        return [text.split("\n", 1)[0] for text in texts]

    def _check_length(self, tokens: int) -> None:
        limit = getattr(self.model.config, "max_position_embeddings", None)
        new = self.config.max_new_tokens
        if limit is not None and tokens + new > limit:
            raise ConfigError(
                f"caption.model: {self.config.model} reads {limit} tokens; a prompt has {tokens}, "
                f"and max_new_tokens {new} come on top. Use shorter examples or a model that reads more"
            )


class Dice(LogitsProcessor):
    """Draws the next token of each caption with the caption's own numbers, and leaves that token alone possible.

    Number n of a caption depends on its seed alone, so a caption does not depend on its batch, and captions with one
    seed and similar prompts make similar choices.
    """

    def __init__(self, seeds: Sequence[int], config: CaptionConfig) -> None:
        self.numbers_BN = torch.from_numpy(np.stack([_numbers(seed, config.max_new_tokens) for seed in seeds]))
        self.temperature, self.top_p = config.temperature, config.top_p
        self.position = 0

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        numbers_B = self.numbers_BN[:, self.position].to(scores.device, scores.dtype)
        self.position += 1
        chosen_B = choose(scores, numbers_B, self.temperature, self.top_p)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen_B[:, None], 0.0)


def choose(logits_BV: Tensor, numbers_B: Tensor, temperature: float, top_p: float) -> Tensor:
    """Tokens [B] drawn by inverting the distribution at `numbers_B` in [0, 1): temperature, then nucleus.

    The nucleus is the smallest set of likeliest tokens with probability `top_p` together. Tokens keep the vocabulary's
    order, not that of their probability: a slightly different distribution then moves few choices.
    """
    if temperature == 0:
        return logits_BV.argmax(-1)
    p_BV = torch.softmax(logits_BV / temperature, -1)
    if top_p < 1:
        sorted_BV, order_BV = torch.sort(p_BV, dim=-1, descending=True, stable=True)
        outside_BV = sorted_BV.cumsum(-1) - sorted_BV >= top_p
        p_BV = p_BV.masked_fill(outside_BV.gather(-1, order_BV.argsort(-1)), 0.0)
    cumulative_BV = p_BV.cumsum(-1)
    target_B1 = (numbers_B * cumulative_BV[:, -1])[:, None]
    chosen_B = torch.searchsorted(cumulative_BV, target_B1, right=True)[:, 0]
    # Rounding may put the target at the very end: then the last possible token is meant.
    last_B = p_BV.shape[-1] - 1 - (p_BV.flip(-1) > 0).int().argmax(-1)
    return torch.minimum(chosen_B, last_B)


def _numbers(seed: int, count: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.Generator(np.random.Philox(key=seed)).random(count, np.float32)


def _greedy(tokenizer: Any, max_new_tokens: int) -> GenerationConfig:
    """Greedy, because Dice leaves one token to choose; ends at a newline or the model's own end."""
    ends = {*newline_ids(tokenizer.get_vocab()), tokenizer.eos_token_id} - {None}
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=sorted(ends) or None, pad_token_id=pad
    )
