"""What `model.stem`, `model.init` and `objective.head_norm` do for a ViT far smaller than the papers'.

    python -m benchmarks.small_vit

Two measurements on renders of the nano world, with the encoder of the recipe `nano_long`:

1. Four encoders learn the 16 shapes from labels, the easiest way there is to see outlines: same images, batches, steps
   and learning rates, only stem and weights differ. The peer is the papers' own: patches, normal weights.
2. How alike the contrastive head's outputs for different images are before any training: the mean cosine of all pairs.
   A contrastive loss can only tell apart what is not one direction.

Prints Markdown; benchmarks/small_vit.md is what it printed on the day that stands there.
"""

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nano import world
from nano.vocabulary import SHAPES
from trainer.config import AugmentConfig, ModelConfig, SynCLRConfig
from trainer.distributed import Single
from trainer.models.heads import contrastive_head
from trainer.models.vit import Encoder, ViT
from trainer.recipes.synclr import nano_long

BATCH = 64
LEARNING_RATE = 2e-3
WARMUP = 50  # steps


def renders(split: world.Split, count: int) -> tuple[Tensor, Tensor]:
    """`count` normalised images of one object each and the numbers of their shapes."""
    config = AugmentConfig()
    mean, std = (torch.tensor(of).view(3, 1, 1) for of in (config.mean, config.std))
    images, labels = [], []
    for index in range(count):
        scene = world.scene(0, split, index)
        images.append((torch.from_numpy(world.render(scene)[0]).permute(2, 0, 1) / 255 - mean) / std)
        labels.append(SHAPES.index(scene.things[0].shape))
    return torch.stack(images), torch.tensor(labels)


def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Top-1, percent."""
    model.eval()
    with torch.no_grad():
        found = torch.cat([model(some).argmax(1) for some in images.split(250)])
    return 100 * float((found == labels).float().mean())


def supervised(model: ModelConfig, steps: int, train: tuple[Tensor, Tensor]) -> nn.Module:
    """The encoder and a linear layer after `steps` batches with cross-entropy; half of the images mirrored."""
    torch.manual_seed(0)
    classifier = nn.Sequential(Encoder(ViT(model)), nn.Linear(model.width, len(SHAPES)))
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=0.05)
    images, labels = train
    draw = torch.Generator().manual_seed(1)
    for step in range(steps):
        chosen = torch.randint(len(images), (BATCH,), generator=draw)
        image = images[chosen]
        if step % 2:
            image = image.flip(3)
        rate = LEARNING_RATE * min(1, (step + 1) / WARMUP, 2 * (1 - step / steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(classifier(image).float(), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(classifier.parameters(), 3.0)
        optimizer.step()
    return classifier


def alike(model: ModelConfig, norm: str, images: Tensor) -> float:
    """Mean cosine between the untrained projector's outputs for different images."""
    config = nano_long().objective
    assert isinstance(config, SynCLRConfig)
    torch.manual_seed(0)
    head = contrastive_head(
        model.width, config.projector_hidden, config.embedding, config.projector_layers,
        batch_of=Single() if norm == "batch" else None,
    )  # fmt: skip
    with torch.no_grad():
        key = F.normalize(head(Encoder(ViT(model))(images)), dim=1)
    cosine = key @ key.T
    return float((cosine.sum() - cosine.trace()) / (len(key) * (len(key) - 1)))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=470, help=f"of {BATCH} images each (470)")
    parser.add_argument("--images", type=int, default=16_000, help="to learn from (16000)")
    arguments = parser.parse_args()

    train, test = renders("train", arguments.images), renders("test", 1_000)
    model = nano_long().model
    views = arguments.steps * BATCH
    print(f"| stem | init | shape, top-1 after {views:,} views |\n|---|---|--:|", flush=True)
    for stem in ("patch", "conv"):
        for init in ("normal", "xavier"):
            one = ModelConfig.model_validate({**model.model_dump(), "stem": stem, "init": init})
            found = accuracy(supervised(one, arguments.steps, train), *test)
            print(f"| {stem} | {init} | {found:.1f} % |", flush=True)
    print("\n| stem | init | head_norm | mean cosine of 256 images' keys |\n|---|---|---|--:|")
    for stem, init in (("patch", "normal"), ("conv", "xavier")):
        for norm in ("layer", "batch"):
            one = ModelConfig.model_validate({**model.model_dump(), "stem": stem, "init": init})
            print(f"| {stem} | {init} | {norm} | {alike(one, norm, test[0][:256]):.3f} |")


if __name__ == "__main__":
    main()
