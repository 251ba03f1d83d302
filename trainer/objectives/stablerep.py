"""StableRep: images painted from one caption attract each other ("StableRep: Synthetic Images from Text-to-Image Models
Make Strong Visual Representation Learners", Tian et al. 2023, Eq. 1), and StableRep++, which adds CLIP's loss.

    L = L_images + text_weight * L_text

    L_images   mean over images a of  logsumexp_{j not a} (z_a.z_j / t)  -  mean_{p in P(a)} z_a.z_p / t
               j runs over all images of all ranks, P(a) are the other images of a's caption; one network for both
               sides, so gradients flow to both. An image without another of its caption counts as 0.
    L_text     (image to text + text to image) / 2; an image chooses its caption among all, a caption shares itself out
               among its images, their temperature is learned (losses/contrastive.py: symmetric)

Labels are the captions' numbers in the dataset. The reference numbers a batch's captions instead, so that a caption
that comes twice (where an epoch ends within a batch) is its own negative there.

What deviates: LayerNorm in the projector where the reference has BatchNorm for each view, so that what an image gives
does not depend on micro-batches; with `head_norm` batch, BatchNorm over all views together. Texts pass once per
caption, not once per image.

Shapes: B captions of this rank, A images (trainer/batch.py: G), E embedding, F text embedding.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from trainer.config import ModelConfig, StableRepConfig
from trainer.distributed import Gather
from trainer.losses.contrastive import among, symmetric
from trainer.losses.route import ROUTES
from trainer.models.heads import contrastive_head
from trainer.models.text import Temperature, TextTower, image_projection
from trainer.models.tokenizers import tokenizer
from trainer.objectives.base import Backbone, Base
from trainer.objectives.protocol import Embedded


class Networks(Backbone):
    """The encoder, its projector and, for StableRep++, the text tower."""

    def __init__(self, config: StableRepConfig, model: ModelConfig, gather: Gather) -> None:
        super().__init__(model, gather)
        batch_of = gather if config.head_norm == "batch" else None
        self.projector = contrastive_head(
            model.width, config.projector_hidden, config.embedding, config.projector_layers, batch_of
        )
        if config.text_weight:
            words = tokenizer(config.tokenizer)
            self.image_projection = image_projection(model.width, config.text_embedding)
            self.text = TextTower(config.text, words.size, words.context, config.text_embedding)
            self.temperature = Temperature(config.scale_start, config.scale_max)


class StableRep(Base[Networks]):
    """The objective. It keeps no state between steps."""

    def __init__(self, config: StableRepConfig, model: ModelConfig, gather: Gather, steps: int) -> None:
        """Raises ConfigError if the tokenizer's file cannot be read."""
        self.config, self.gather, self.route = config, gather, ROUTES[config.exchange](gather)
        self.networks = Networks(config, model, gather)
        self.batch_keys: tuple[str, ...] = ("global_crops", "labels")
        self.batch_keys += ("tokens",) if config.text_weight else ()

    def embed(self, batch: Mapping[str, Tensor]) -> Embedded:
        networks, label_B = self.networks, batch["labels"]
        cls_AD = networks.backbone(batch["global_crops"]).cls
        label_A = label_B.repeat(len(cls_AD) // len(label_B))
        embedded = {"image": networks.projector(cls_AD), "caption_of_image": label_A}
        if self.config.text_weight:
            embedded["image_to_text"] = networks.image_projection(cls_AD)
            embedded |= {"text": networks.text(batch["tokens"]), "caption": label_B}
        return embedded

    def compare(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        label_A = embedded["caption_of_image"]
        loss_A, positives_A = among(embedded["image"], label_A, self.config.temperature, self.route)
        images = loss_A.mean()
        without = self.gather.all_reduce_sum((positives_A == 0).sum()).float()
        metrics = {"loss/images": images.detach(), "loss/anchors_without_positive": without}
        if not self.config.text_weight:
            return images, metrics
        temperature = self.networks.temperature()
        image_AF, text_BF = embedded["image_to_text"], embedded["text"]
        text = symmetric(image_AF, text_BF, label_A, embedded["caption"], temperature, self.route)
        metrics |= {"loss/text": text.detach(), "loss/temperature": temperature.detach()}
        return images + self.config.text_weight * text, metrics

    def shared(self) -> list[nn.Parameter]:
        return list(self.networks.temperature.parameters()) if self.config.text_weight else []
