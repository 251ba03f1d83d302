"""What objectives have in common, so that the file of each holds what is its own: `embed` and `compare`.

`Base` serves an objective that has one encoder, and a loss that is what samples give and then their comparison
(`Comparing` in objectives/protocol.py). `Pairs` is one of images and their captions, in two towers (CLIP, SigLIP).

Shapes: B captions of this rank, A images (trainer/batch.py: G), E embedding.
"""

from collections.abc import Mapping
from typing import Generic, TypeVar

from torch import Tensor, nn

from trainer.config import CLIPConfig, ModelConfig, SigLIPConfig
from trainer.distributed import Gather
from trainer.losses.route import ROUTES
from trainer.models.encoder import backbone, exported
from trainer.models.norms import settle
from trainer.models.text import Temperature, TextTower, image_projection
from trainer.models.tokenizers import tokenizer
from trainer.objectives.protocol import Comparing, Embedded


class Backbone(nn.Module):
    """The encoder, whose output has `.cls`, `model.width` channels wide. Objectives add their heads."""

    def __init__(self, model: ModelConfig, gather: Gather) -> None:
        super().__init__()
        self.backbone = backbone(model, model.drop_path, gather)


Held = TypeVar("Held", bound=Backbone)


class Base(Comparing, Generic[Held]):
    """Its networks are what it trains and saves; it keeps no state of its own between steps, and learns no temperature.
    One that does keep some calls this one's `after_step` too."""

    networks: Held

    def modules(self) -> Held:
        return self.networks

    def encoder(self) -> nn.Module:
        return exported(self.networks.backbone)

    def loss(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return self.compare(self.embed(batch))

    def shared(self) -> list[nn.Parameter]:
        return []

    def after_step(self, step: int) -> None:
        """The running statistics of a ResNet's norms move."""
        settle(self.networks.backbone)


class Towers(Backbone):
    """Image and text tower, and the temperature."""

    def __init__(self, config: CLIPConfig | SigLIPConfig, model: ModelConfig, gather: Gather) -> None:
        """Raises ConfigError if the tokenizer's file cannot be read."""
        super().__init__(model, gather)
        words = tokenizer(config.tokenizer)
        self.image_projection = image_projection(model.width, config.embedding)
        self.text = TextTower(config.text, words.size, words.context, config.embedding)
        self.temperature = Temperature(config.scale_start, config.scale_max)


Both = TypeVar("Both", bound=Towers)


class Pairs(Base[Both]):
    """Features of images and of captions, and which belong together."""

    batch_keys: tuple[str, ...] = ("global_crops", "labels", "tokens")

    def __init__(self, config: CLIPConfig | SigLIPConfig, networks: Both, gather: Gather) -> None:
        self.networks, self.route = networks, ROUTES[config.exchange](gather)

    def embed(self, batch: Mapping[str, Tensor]) -> Embedded:
        image_AE = self.networks.image_projection(self.networks.backbone(batch["global_crops"]).cls)
        label_B = batch["labels"]
        return {
            "image": image_AE,
            "caption_of_image": label_B.repeat(len(image_AE) // len(label_B)),
            "text": self.networks.text(batch["tokens"]),
            "caption": label_B,
        }

    def shared(self) -> list[nn.Parameter]:
        return list(self.networks.temperature.parameters())
