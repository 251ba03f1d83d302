"""CLIP: images and their captions find each other among all ("Learning Transferable Visual Models From Natural Language
Supervision", Radford et al. 2021, Fig. 3).

    L = 1/2 mean_i [ logsumexp_t s x_i.y_t - s x_i.y_i ]  +  1/2 mean_t [ logsumexp_i s x_i.y_t - s x_t.y_t ]

x and y are unit features of images and texts, of all ranks; the scale s is learned, from 1 / 0.07 and never above 100.
With several images to a caption each chooses the caption, and the caption shares itself out among them. A caption that
comes twice in a batch is no negative of itself: pairs are told by the captions' numbers in the dataset.

What deviates: the image tower is the ViT of the other objectives (no norm before its blocks, timm's initial weights),
so that objectives can be compared; a ResNet's projection has no bias, and its BatchNorm is over all ranks; the maximum
of the scale holds in the gradient too (models/text.py: Temperature).

Shapes: B captions of this rank, A images (trainer/batch.py: G), D width, E embedding.
"""

from torch import Tensor

from trainer.config import CLIPConfig, ModelConfig
from trainer.distributed import Gather
from trainer.losses.contrastive import symmetric
from trainer.objectives.base import Pairs, Towers
from trainer.objectives.protocol import Embedded


class CLIP(Pairs[Towers]):
    """The objective. It keeps no state between steps."""

    def __init__(self, config: CLIPConfig, model: ModelConfig, gather: Gather, steps: int) -> None:
        """Raises ConfigError if the tokenizer's file cannot be read."""
        super().__init__(config, Towers(config, model, gather), gather)

    def compare(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        temperature = self.networks.temperature()
        features, labels = (embedded["image"], embedded["text"]), (embedded["caption_of_image"], embedded["caption"])
        loss = symmetric(*features, *labels, temperature, self.route)
        return loss, {"loss/temperature": temperature.detach()}
