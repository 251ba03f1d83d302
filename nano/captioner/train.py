"""Trains the captioner from scratch on captions of the world: `python -m nano.captioner.train`.

A step's prompts depend on (seed, step) alone, and checkpoints are replaced atomically: a command that was interrupted,
even by SIGKILL, goes on where it was when it is given again.

Shapes in names: B prompts of a batch, T tokens of the longest, K tokens with a loss, D width, V vocabulary.
"""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from generator.config import CaptionConfig
from nano.captioner import WEIGHTS, text, tokens
from nano.painter.fit import Metrics, fit

CONTEXT: Final = 512  # tokens; a prompt with its caption takes about 110

# The model is fitted as it will be sampled: logits / T are the log-odds of the world's captions at the T of the caption
# stage, so that sampling neither sharpens nor flattens them.
TEMPERATURE: Final = float(CaptionConfig.model_fields["temperature"].default)


@dataclass(frozen=True)
class Setup:
    """What the weights depend on. The defaults are those of the weights in the repository."""

    seed: int = 0
    steps: int = 1500
    batch: int = 32  # prompts, of four captions each
    lr: float = 3e-3
    width: int = 128
    layers: int = 3
    head: int = 64  # width of a head; vLLM's attention on CPUs knows 32, 64, 80, 96, 128
    library: int = 8000  # lines of each pool that prompts are put together from
    validation: int = 128  # prompts, of another seed


def train(folder: Path, weights: Path, setup: Setup) -> None:
    """Trains under `folder` (checkpoint and log) and writes the finished model and tokenizer to `weights`."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = text.library(setup.seed, setup.library)
    tokenizer = tokenizer_of(lines)
    model = build(setup, tokenizer)
    held_out = batch_of(text.library(setup.seed + 1, setup.validation), tokenizer, setup.validation, (setup.seed, 1))

    def loss(step: int) -> tuple[Tensor, Metrics]:
        value = loss_of(model, *batch_of(lines, tokenizer, setup.batch, (setup.seed, 0, step)))
        metrics = {"loss": value.item()}
        if (step + 1) % _EVERY == 0 or step + 1 == setup.steps:
            with torch.no_grad():
                metrics["validation_loss"] = loss_of(model, *held_out).item()
        return value, metrics

    fit("captioner", model, loss, steps=setup.steps, lr=setup.lr, folder=folder, decay=0.99, warmup=100, every=_EVERY)
    save(model, tokenizer, weights)
    if folder.resolve() != weights.parent.resolve():
        shutil.copy(folder / "training.jsonl", weights.parent / "training.jsonl")


_EVERY: Final = 50  # steps between two lines of the log


def tokenizer_of(lines: text.Library) -> PreTrainedTokenizerFast:
    """The tokenizer of the prompts; a few thousand of them hold every word."""
    rng = np.random.default_rng(0)
    return tokens.build(("".join(text.sample(lines, rng)) for _ in range(1000)), CONTEXT)


def build(setup: Setup, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with random weights."""
    torch.manual_seed(setup.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=setup.width,
        intermediate_size=3 * setup.width,
        num_hidden_layers=setup.layers,
        num_attention_heads=setup.width // setup.head,
        num_key_value_heads=setup.width // setup.head,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=_ends(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.set_attn_implementation("eager")  # on CPU the fused kernel's backward takes longer than all the rest
    return model


def batch_of(
    lines: text.Library, tokenizer: PreTrainedTokenizerFast, count: int, key: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """`count` prompts with completions: ids_BT, and told_BT, true where a token is part of a caption or ends one."""
    rng = np.random.default_rng(key)
    texts = ["".join(text.sample(lines, rng)) for _ in range(count)]
    ids_BT: Tensor = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt").input_ids
    arrow_BT, newline_BT = (ids_BT == tokenizer.convert_tokens_to_ids(t) for t in (tokens.ARROW, tokens.NEWLINE))
    arrows_BT = arrow_BT.cumsum(1) - arrow_BT.long()  # so many stand before the token
    newlines_BT = newline_BT.cumsum(1) - newline_BT.long()
    # The instruction ends with the first newline; then each line is a key up to its arrow, and from there a caption.
    return ids_BT, (arrows_BT == newlines_BT) & (newlines_BT > 0)


def loss_of(model: LlamaForCausalLM, ids_BT: Tensor, told_BT: Tensor) -> Tensor:
    """Mean cross entropy, at the sampling temperature, of the caption tokens; the examples' captions count as well."""
    next_BT = told_BT[:, 1:]
    with torch.autocast("cpu", torch.bfloat16):
        states_BTD = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
    # Not in bfloat16: logits around 10 would be rounded to 1/16, and equally likely words would come out unequal.
    logits_KV = model.lm_head(states_BTD[:, :-1][next_BT].float())
    return F.cross_entropy(logits_KV / TEMPERATURE, ids_BT[:, 1:][next_BT])


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, weights: Path) -> None:
    """Writes a transformers folder, bfloat16; the weights appear last, so a folder that has them is whole."""
    draft = weights.with_name(f"{weights.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(draft)
    tokenizer.save_pretrained(draft)
    GenerationConfig(
        do_sample=True,
        temperature=TEMPERATURE,
        top_p=float(CaptionConfig.model_fields["top_p"].default),
        max_new_tokens=40,
        eos_token_id=_ends(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(draft)
    weights.mkdir(parents=True, exist_ok=True)
    for file in sorted(draft.iterdir(), key=lambda file: file.suffix == ".safetensors"):
        file.replace(weights / file.name)
    draft.rmdir()


def _ends(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """A caption ends with its line."""
    return [tokenizer.convert_tokens_to_ids(tokens.NEWLINE), tokenizer.eos_token_id]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("runs/captioner"), help="checkpoint and log; resumed from")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the finished model goes")
    parser.add_argument("--seed", type=int, default=Setup.seed, help="of the weights and the prompts")
    arguments = parser.parse_args()
    train(arguments.folder, arguments.weights, Setup(seed=arguments.seed))


if __name__ == "__main__":
    main()
