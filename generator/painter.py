"""A diffusion model that paints batches of captions, each image from noise of its own.

Shapes in names: B images of a batch (always `image.batch`), C latent channels, S latent side, T text tokens, D their
width, H and W the picture's sides.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import diffusers
import numpy as np
import torch
import transformers
from diffusers import DDIMScheduler, StableDiffusionPipeline
from numpy.typing import NDArray
from torch import Tensor

from config import ConfigError
from generator.config import ImageConfig
from generator.files import locate_model
from generator.models import device_of, dtype_of, loading, native_precision

Pixels = NDArray[np.uint8]
T = TypeVar("T")


class Painter:
    """A pipeline in StableDiffusionPipeline's format in memory, with a DDIM sampler.

    An image depends on its caption, its seed and the settings alone: the noise comes from a generator per image, on the
    CPU, and every pass has the same batch shape, so each row meets the same arithmetic whatever stands in the others.

    Raises:
        ConfigError: the model cannot be loaded, or cannot paint `image.size`.
    """

    def __init__(self, config: ImageConfig) -> None:
        self.config = config
        device = device_of(config.device, "image.device")
        precision = native_precision(device) if config.precision == "auto" else config.precision
        name = locate_model(config.model, "image.model")
        for library in (diffusers, transformers):
            library.logging.disable_progress_bar()  # the stage has its own
        with loading(name, "image.model", "a StableDiffusionPipeline"):
            # Filters belong in a later stage that flags images; the pipeline's own checker paints them black.
            self.pipe: Any = StableDiffusionPipeline.from_pretrained(
                name, dtype=dtype_of(precision), safety_checker=None, requires_safety_checker=False
            )
            self.pipe.scheduler = DDIMScheduler.from_config(self.pipe.scheduler.config)
        factor = self.pipe.vae_scale_factor
        if config.size % factor:
            raise ConfigError(f"image.size must be a multiple of {factor} for {name}, got {config.size}")
        self.pipe.to(device)
        if device.type == "cuda":  # on CPUs it is no faster (measured, fp32 and bf16)
            for part in (self.pipe.unet, self.pipe.vae):
                part.to(memory_format=torch.channels_last)
        self.pipe.set_progress_bar_config(disable=True)
        self.unconditional_1TD = self._encode([""])[:1]
        self.versions: Mapping[str, str] = {
            "torch": torch.__version__,
            "diffusers": diffusers.__version__,
            "device": _described(device),
        }

    @torch.inference_mode()
    def encode(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Caption -> what the text encoder makes of it [T, D], each distinct caption once."""
        return {
            caption: row_TD
            for part in batches(list(dict.fromkeys(captions)), self.config.batch)
            for caption, row_TD in zip(part, self._encode(part), strict=False)
        }

    @torch.inference_mode()
    def paint(self, texts: Sequence[Tensor], seeds: Sequence[int]) -> Pixels:
        """Images [len(texts), H, W, 3] of encoded captions; at most a batch, which is filled up with copies."""
        dice = [torch.Generator("cpu").manual_seed(seed) for seed in _filled(seeds, self.config.batch)]
        texts_BTD = torch.stack(_filled(texts, self.config.batch))
        latents_BCSS = self.pipe(
            prompt_embeds=texts_BTD,
            negative_prompt_embeds=self.unconditional_1TD.expand_as(texts_BTD),
            latents=self._noise(dice, texts_BTD),
            generator=dice,  # read only when eta is above 0
            num_inference_steps=self.config.steps,
            guidance_scale=self.config.guidance,
            eta=self.config.eta,
            height=self.config.size,
            width=self.config.size,
            output_type="latent",
        ).images
        return self._decode(latents_BCSS)[: len(texts)]

    def is_cut(self, caption: str) -> bool:
        """Whether the text encoder reads only the beginning of the caption."""
        length: int = self.pipe.tokenizer.model_max_length
        ids: list[int] = self.pipe.tokenizer(caption, truncation=True, max_length=length + 1).input_ids
        return len(ids) > length

    def _encode(self, captions: Sequence[str]) -> Tensor:
        """[B, T, D], as StableDiffusionPipeline.encode_prompt does it, which also writes a warning for each cut."""
        encoder = self.pipe.text_encoder
        tokens = self.pipe.tokenizer(
            _filled(captions, self.config.batch), padding="max_length", truncation=True, return_tensors="pt"
        ).to(encoder.device)
        masked = getattr(encoder.config, "use_attention_mask", False)
        rows_BTD: Tensor = encoder(tokens.input_ids, attention_mask=tokens.attention_mask if masked else None)[0]
        return rows_BTD

    def _noise(self, dice: Sequence[torch.Generator], like: Tensor) -> Tensor:
        side = self.config.size // self.pipe.vae_scale_factor
        shape = (self.pipe.unet.config.in_channels, side, side)
        # Drawn in fp32 and then cast: one seed, one noise, in every precision.
        return torch.stack([torch.randn(shape, generator=one) for one in dice]).to(like.device, like.dtype)

    def _decode(self, latents_BCSS: Tensor) -> Pixels:
        """Pixels [B, H, W, 3]; the conversion to bytes runs where the image is, so that little is copied."""
        vae = self.pipe.vae
        shift = getattr(vae.config, "shift_factor", None) or 0.0
        image_B3HW = vae.decode(latents_BCSS / vae.config.scaling_factor + shift, return_dict=False)[0]
        bytes_B3HW = image_B3HW.float().mul(127.5).add(127.5).round().clamp(0, 255).to(torch.uint8)
        pixels: Pixels = bytes_B3HW.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return pixels


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Parts of `size`, the last one shorter."""
    return (items[start : start + size] for start in range(0, len(items), size))


def _filled(items: Sequence[T], size: int) -> list[T]:
    """`size` items, the last one repeated."""
    return [*items, *[items[-1]] * (size - len(items))]


def _described(device: torch.device) -> str:
    """What the last bits of an image depend on: the GPU's kind, or how many threads a CPU's sums are split among."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"
