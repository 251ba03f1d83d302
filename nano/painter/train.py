"""Trains the painter from scratch on renders alone: `python -m nano.painter.train`.

Five parts in order, each resumed where it stopped when the command is given again: the VAE, the latents of the
renders, the text encoder (first as a reader of attributes, so that the U-Net gets words that mean something from its
first step), the U-Net with the text encoder, and the VAE's decoder once more.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from nano import vocabulary as words
from nano import world
from nano.captions import parse
from nano.painter import WEIGHTS, data, models
from nano.painter.fit import Metrics, fit, save

SEED = 0
SCENES = 40_000
VAE_STEPS, VAE_BATCH = 1_800, 16
READER_STEPS, READER_BATCH = 800, 64
UNET_STEPS, UNET_BATCH = 5_000, 64
DECODER_STEPS = 1_000
UNCONDITIONAL = 0.1
PATCH = 64 // models.LATENT[1]  # pixels a latent stands for, on a side


def train(folder: Path, weights: Path, *, compiled: bool) -> None:
    """Trains all parts under `folder` and saves the pipeline to `weights` (float16 safetensors)."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    tokens = models.tokenizer(folder / "tokenizer")
    vae = train_vae(folder, compiled)
    latents, things = encode(vae, folder)
    vae.register_to_config(scaling_factor=float(1 / latents[:4096].float().std()))
    reader = train_reader(folder, tokens)
    text_encoder, unet = train_unet(folder, tokens, (latents, things), vae.config.scaling_factor, reader, compiled)
    polish(vae, latents, folder, compiled)
    pipe = models.pipeline({"vae": vae, "unet": unet, "text_encoder": text_encoder}, tokens)
    pipe.to(dtype=torch.float16).save_pretrained(weights)
    log = folder / "training.jsonl"
    if log.parent.resolve() != weights.parent.resolve():
        shutil.copy(log, weights.parent / "training.jsonl")


def train_vae(folder: Path, compiled: bool) -> AutoencoderKL:
    """L1 on pixels and on their differences, objects weighted threefold, with a light pull of latents to N(0, 1)."""
    torch.manual_seed(SEED)
    vae = models.vae().to(memory_format=torch.channels_last)
    forward = torch.compile(_reconstruct) if compiled else _reconstruct

    def loss(step: int) -> tuple[Tensor, Metrics]:
        image, mask = data.pictures(data.scenes(step * VAE_BATCH % SCENES, VAE_BATCH, split="painter"))
        noise = torch.randn(VAE_BATCH, *models.LATENT, generator=torch.Generator().manual_seed(step))
        restored, mean, logvar = (t.float() for t in forward(vae, image, noise))
        pixel, edge = _differences(restored, image, mask)
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        return pixel + edge + 5e-4 * kl, {"l1": pixel.item(), "kl": kl.item()}

    return fit("vae", vae, loss, steps=VAE_STEPS, lr=2e-3, folder=folder)


def _reconstruct(vae: AutoencoderKL, image: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    with torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(image).latent_dist
        mean, logvar = posterior.mean, posterior.logvar
        return vae.decode(mean + (0.5 * logvar).exp() * noise).sample, mean, logvar


@torch.no_grad()
def encode(vae: AutoencoderKL, folder: Path) -> tuple[Tensor, Tensor]:
    """Latent means [SCENES, 4, 16, 16] of all renders and where things are [SCENES, 1, 64, 64], computed once."""
    path = folder / "latents.pt"
    if not path.exists():
        found, masks = [], []
        for first in range(0, SCENES, 200):
            image, mask = data.pictures(data.scenes(first, 200, split="painter"))
            with torch.autocast("cpu", torch.bfloat16):
                found.append(vae.encode(image).latent_dist.mean.half())
            masks.append(mask.bool())
            if first % 10_000 == 0:
                print(f"latents: {first} of {SCENES}", flush=True)
        save(path, {"latents": torch.cat(found), "things": torch.cat(masks)})
    saved = torch.load(path, weights_only=True)
    return saved["latents"], saved["things"]


def polish(vae: AutoencoderKL, latents: Tensor, folder: Path, compiled: bool) -> None:
    """Trains the decoder on, with the encoder (and so what the U-Net learnt) fixed; latents get a little noise, because
    the U-Net's are not exact either."""
    torch.manual_seed(SEED + 3)
    decoder = nn.ModuleDict({"post_quant_conv": vae.post_quant_conv, "decoder": vae.decoder}).requires_grad_(True)
    forward = torch.compile(_decode) if compiled else _decode
    noise = 0.1 / vae.config.scaling_factor

    def loss(step: int) -> tuple[Tensor, Metrics]:
        first = step * VAE_BATCH % SCENES
        image, mask = data.pictures(data.scenes(first, VAE_BATCH, split="painter"))
        draw = torch.randn(VAE_BATCH, *models.LATENT, generator=torch.Generator().manual_seed(step))
        restored = forward(decoder, latents[first : first + VAE_BATCH].float() + noise * draw).float()
        pixel, edge = _differences(restored, image, mask)
        return pixel + edge, {"l1": pixel.item()}

    fit("decoder", decoder, loss, steps=DECODER_STEPS, lr=1e-3, folder=folder)


def _decode(decoder: nn.ModuleDict, latent: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        restored: Tensor = decoder["decoder"](decoder["post_quant_conv"](latent))
        return restored


def _differences(restored: Tensor, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """L1 of pixels, and of their differences to the next row and column; things count three times."""
    weight, error = 1 + 2 * mask, restored - image
    edge = [(weight.narrow(d, 1, image.shape[d] - 1) * error.diff(dim=d).abs()).mean() for d in (2, 3)]
    return (weight * error.abs()).mean(), edge[0] + edge[1]


class Reader(nn.Module):
    """The text encoder with one linear head per attribute on the mean of its states; the last class is "not told"."""

    def __init__(self, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        sizes = (16, 10, 6, 3, 8, 4, 16, 10, 9)
        self.heads = nn.ModuleList(nn.Linear(models.TEXT_WIDTH, size + 1) for size in sizes)

    def forward(self, ids: Tensor) -> list[Tensor]:
        states = self.text_encoder(ids).last_hidden_state.mean(1)
        return [head(states) for head in self.heads]


def train_reader(folder: Path, tokens: CLIPTokenizer) -> CLIPTextModel:
    """Teaches the text encoder to tell each attribute of a caption, in some minutes instead of the U-Net's hour."""
    torch.manual_seed(SEED + 1)
    reader = Reader(models.text_encoder(len(tokens)))

    def loss(step: int) -> tuple[Tensor, Metrics]:
        rng = np.random.default_rng([SEED, 1, step])
        batch = data.scenes(step * READER_BATCH % SCENES, READER_BATCH, split="painter", pairs=0.4)
        texts = data.told(batch, rng)
        with torch.autocast("cpu", torch.bfloat16):
            logits = [head.float() for head in reader(_ids(tokens, texts))]
        targets = torch.tensor([_attributes(scene, text) for scene, text in zip(batch, texts, strict=True)])
        value = sum(F.cross_entropy(head, targets[:, i]) for i, head in enumerate(logits))
        right = torch.stack([head.argmax(1) for head in logits], 1).eq(targets).all(1).float().mean()
        return torch.as_tensor(value), {"loss": float(value), "all_right": right.item()}

    fit("reader", reader, loss, steps=READER_STEPS, lr=1e-3, folder=folder, decay=0.99)
    return reader.text_encoder


def _attributes(scene: world.Scene, text: str) -> list[int]:
    """Class of every attribute for `Reader`'s heads, told or not."""
    said, first = parse(text), scene.things[0]
    second = scene.things[1] if scene.relation else None
    position = next((i for i, p in enumerate(words.POSITION_PHRASES.values()) if any(_ends(text, x) for x in p)), 9)
    return [
        words.SHAPES.index(first.shape),
        tuple(words.COLOURS).index(first.colour),
        words.TEXTURES.index(said.texture) if said.texture else 6,
        tuple(words.SIZES).index(said.size) if said.size else 3,
        words.BACKGROUNDS.index(said.background) if said.background else 8,
        words.RELATIONS.index(scene.relation) if scene.relation else 4,
        words.SHAPES.index(second.shape) if second else 16,
        tuple(words.COLOURS).index(second.colour) if second else 10,
        position,
    ]


def _ends(text: str, phrase: str) -> bool:
    """Whether the position phrase stands whole: `at the top` is not said by `at the top left`."""
    after = text.partition(f" {phrase}")
    return bool(after[1]) and after[2][:5] not in (" left", " righ")


def train_unet(
    folder: Path,
    tokens: CLIPTokenizer,
    encoded: tuple[Tensor, Tensor],
    scale: float,
    text_encoder: CLIPTextModel,
    compiled: bool,
) -> tuple[CLIPTextModel, nn.Module]:
    """v-prediction (Salimans & Ho 2022) with the text encoder learning along; one caption in ten is empty.

    Half of the times are uniform, half logit-normal (Esser et al. 2024): shapes are decided at the middle noise levels.
    Errors where things are count three times, because most of a picture is background.
    """
    torch.manual_seed(SEED + 2)
    unet = models.unet().to(memory_format=torch.channels_last)
    unet.set_attn_processor(AttnProcessor())  # on CPU plain matrix products beat the fused kernel at this size
    features: list[Tensor] = []
    unet.up_blocks[-1].register_forward_hook(lambda _block, _inputs, output: features.append(output))
    outline = nn.Conv2d(unet.config.block_out_channels[0], PATCH**2, 1)
    parts = {"unet": unet, "text_encoder": text_encoder.requires_grad_(True).train(), "outline": outline}
    forward = torch.compile(_denoise) if compiled else _denoise
    schedule = models.scheduler()
    latents, things = encoded

    def loss(step: int) -> tuple[Tensor, Metrics]:
        rng = np.random.default_rng([SEED, 2, step])
        draw = torch.Generator().manual_seed(step)
        index = rng.integers(0, SCENES, UNET_BATCH)
        scenes = [world.scene(data.SCENES_SEED, "painter", int(i), pairs=data.PAIRS) for i in index]
        ids = _ids(tokens, data.told(scenes, rng, UNCONDITIONAL))
        clean, thing = (t[torch.from_numpy(index)].float() for t in (latents, things))
        clean = clean * scale
        noise = torch.randn(clean.shape, generator=draw)
        middle = torch.randn(UNET_BATCH // 2, generator=draw).sigmoid()
        time = (torch.cat([middle, torch.rand(UNET_BATCH - len(middle), generator=draw)]) * 1000).long()
        noisy = schedule.add_noise(clean, noise, time).contiguous(memory_format=torch.channels_last)
        error = forward(unet, text_encoder, noisy, time, ids).float() - schedule.get_velocity(clean, noise, time)
        velocity = (error.square() * (1 + 2 * F.adaptive_max_pool2d(thing, clean.shape[2:]))).mean()
        drawn = F.binary_cross_entropy_with_logits(F.pixel_shuffle(outline(features.pop().float()), PATCH), thing)
        return velocity + 5 * drawn, {"velocity": velocity.item(), "outline": drawn.item()}

    fit("unet", nn.ModuleDict(parts), loss, steps=UNET_STEPS, lr=1e-3, folder=folder, decay=0.999, warmup=300)
    return text_encoder, unet


def _denoise(unet: nn.Module, text_encoder: nn.Module, noisy: Tensor, time: Tensor, ids: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        velocity: Tensor = unet(noisy, time, encoder_hidden_states=text_encoder(ids).last_hidden_state).sample
    return velocity


def _ids(tokens: CLIPTokenizer, texts: list[str]) -> Tensor:
    ids: Tensor = tokens(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    return ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/painter"), help="checkpoints and log; resumed from")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the finished pipeline goes")
    parser.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=shutil.which("c++") is not None,
        help="torch.compile, about 1.4 times as fast; needs a C++ compiler (default: if there is one)",
    )
    arguments = parser.parse_args()
    train(arguments.folder, arguments.weights, compiled=arguments.compile)


if __name__ == "__main__":
    main()
