"""A classifier of shape and colour, trained on renders alone: it tells whether a painted picture shows its caption.

`python -m nano.painter.judge` trains it (about five minutes on two cores) and prints how it reads held-out renders.
"""

import argparse
import itertools
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nano import world
from nano.painter import WEIGHTS, data
from nano.painter.fit import Metrics, fit

STEPS, BATCH = 2_000, 64
FILE = WEIGHTS.parent / "judge.safetensors"


class Judge(nn.Module):
    """Residual convolutions on 64-pixel pictures in -1..1; logits of the first thing's shape and colour."""

    def __init__(self) -> None:
        super().__init__()
        widths = (24, 48, 96, 128)
        self.stem = nn.Conv2d(3, widths[0], 3, 2, 1)
        self.stages = nn.Sequential(*(_Block(a, b) for a, b in itertools.pairwise(widths)))
        self.shape = nn.Linear(widths[-1], world.CLASSES["shape"])
        self.colour = nn.Linear(widths[-1], world.CLASSES["colour"])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.stages(self.stem(image)).amax((2, 3))  # the thing is somewhere; the maximum finds it
        return self.shape(features), self.colour(features)


class _Block(nn.Module):
    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.BatchNorm2d(inner), nn.ReLU(), nn.Conv2d(inner, outer, 3, 2, 1))
        self.rest = nn.Sequential(
            nn.BatchNorm2d(outer), nn.ReLU(), nn.Conv2d(outer, outer, 3, 1, 1),
            nn.BatchNorm2d(outer), nn.ReLU(), nn.Conv2d(outer, outer, 3, 1, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(x)
        change: Tensor = self.rest(y)
        return y + change


def train(folder: Path) -> Judge:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    judge = Judge().to(memory_format=torch.channels_last)

    def loss(step: int) -> tuple[Tensor, Metrics]:
        scenes = data.scenes(step * BATCH, BATCH, split="judge", pairs=0.0)
        image, _ = data.pictures(scenes)
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(step))
        with torch.autocast("cpu", torch.bfloat16):
            shape, colour = judge(image + 0.05 * noise)  # a little grain: painted pictures are not pixel-clean
        labels = [scene.labels() for scene in scenes]
        want = [torch.tensor([label[task] for label in labels]) for task in ("shape", "colour")]
        value = F.cross_entropy(shape.float(), want[0]) + F.cross_entropy(colour.float(), want[1])
        return value, {"loss": value.item()}

    fit("judge", judge, loss, steps=STEPS, lr=2e-3, folder=folder, decay=0.99)
    return judge


def load(file: Path = FILE) -> Judge:
    judge = Judge()
    judge.load_state_dict(load_file(file))
    return judge.eval().requires_grad_(False)


@torch.no_grad()
def read(judge: Judge, image: Tensor) -> list[tuple[int, int]]:
    """(shape, colour) classes of pictures [N, 3, 64, 64] in -1..1."""
    shape, colour = judge(image)
    return list(zip(shape.argmax(1).tolist(), colour.argmax(1).tolist(), strict=True))


def accuracy(judge: Judge, count: int = 4000) -> float:
    """Share of held-out renders (the world's test split) whose shape and colour are both read right."""
    right = 0
    for first in range(0, count, 500):
        scenes = data.scenes(first, 500, split="test", pairs=0.0)
        found = read(judge, data.pictures(scenes)[0])
        right += sum(f == (s.labels()["shape"], s.labels()["colour"]) for f, s in zip(found, scenes, strict=True))
    return right / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("runs/judge"), help="checkpoints and log; resumed from")
    parser.add_argument("--weights", type=Path, default=FILE, help="where the finished judge goes")
    arguments = parser.parse_args()
    judge = train(arguments.folder)
    save_file({name: value.contiguous() for name, value in judge.state_dict().items()}, arguments.weights)
    print(f"held-out renders read right, shape and colour together: {accuracy(judge):.4f}")


if __name__ == "__main__":
    main()
