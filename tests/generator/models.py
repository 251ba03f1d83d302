"""Tiny models of the real classes with random weights: they run all the machinery in milliseconds and mean nothing.

And the command line of a small run on them.
"""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

SIZE = 32  # pixels of a painted image
SMALL = {
    "caption.count": 10,
    "caption.per_unit": 4,
    "caption.max_attempts": 2,
    "caption.max_flagged": 1,  # random weights name nothing
    "caption.max_new_tokens": 8,
    "caption.contexts": 4,
    "caption.batch": 3,
    "image.size": 32,
    "image.save_size": 32,
    "image.steps": 2,
    "image.batch": 6,
    "lease.ttl": 20,
    "lease.poll": 0.1,
    "tracking.enabled": "false",
}


def command(models_folder: Path, root: object, /, **changes: object) -> list[str]:
    """Arguments of `python -m generator.caption|image` for a small run."""
    values = {
        "root": root,
        "caption.model": models_folder / "captioner",
        "image.model": models_folder / "painter",
        **SMALL,
        **changes,
    }
    return ["--recipe", "nano", *(f"--{name}={value}" for name, value in values.items())]


def save_captioner(folder: Path) -> Path:
    """A two-layer Llama over bytes."""
    torch.manual_seed(0)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|pad|>", "<|end|>"]
    trainer = trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["a red star on sand", "a blue fish in the sea"], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<|pad|>", eos_token="<|end|>")
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=1024, initializer_range=0.3, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def save_painter(folder: Path) -> Path:
    """A pipeline of four tiny parts: 32 pixels, latents 4x8x8, 16 text tokens. vLLM's environment cannot make it."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8), layers_per_block=1, norm_num_groups=4, sample_size=SIZE,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 16), layers_per_block=1, cross_attention_dim=16, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        attention_head_dim=2,
    )  # fmt: skip
    tokenizer = _clip_tokenizer(folder / "made")
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=16,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    for part in (unet, text):  # weights small enough to be ignored would make every caption's image the same
        for weight in part.parameters():
            torch.nn.init.normal_(weight, std=0.3)
    scheduler = DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    StableDiffusionPipeline(
        vae, text, tokenizer, unet, scheduler, None, None, requires_safety_checker=False
    ).save_pretrained(folder)
    return folder


def _clip_tokenizer(folder: Path) -> CLIPTokenizer:
    letters = "abcdefghijklmnopqrstuvwxyz,-"
    tokens = ["<pad>", "<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=16)
