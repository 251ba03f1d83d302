"""Supervised cross entropy: the concept that a caption was made from is the class of its images (the SupCE column of
SynCLR's Table 5).

    L = mean over images of  - sum_c y_c log softmax(W z + b)_c,    y = 1 - s for the class, plus s / classes for all

Captions whose concept is not on the list of classes count as 0 and are counted; the mean is over all others, of all
ranks. s is label smoothing. SynCLR says neither head nor smoothing: here a linear layer on the class token, from zeros
in the bias and a truncated normal (0.02) in the weights as in the rest of the ViT, and DeiT's 0.1.

Shapes: B captions of this rank, A images (trainer/batch.py: G), D width, C classes.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import ConfigError
from trainer.concepts import NO_CLASS, classes_of
from trainer.config import ModelConfig, SupervisedConfig
from trainer.distributed import Gather
from trainer.losses.precision import at_least_fp32, without_autocast
from trainer.objectives.base import Backbone, Base
from trainer.objectives.protocol import Embedded


def cross_entropy(score_AC: Tensor, class_A: Tensor, smoothing: float, gather: Gather) -> tuple[Tensor, Tensor]:
    """The loss above, and how many images (of all ranks) had a class; 0 if none had.

    Each rank returns its part of the sum times ranks / images, so the mean over ranks, of losses and of gradients, is
    the global batch's, however the images without a class are spread.
    """
    with without_autocast(score_AC):
        known = gather.all_reduce_sum((class_A != NO_CLASS).sum())
        total = F.cross_entropy(
            at_least_fp32(score_AC), class_A, ignore_index=NO_CLASS, label_smoothing=smoothing, reduction="sum"
        )
        return total * gather.world / known.clamp(min=1), known


class Networks(Backbone):
    """The encoder and its classifier."""

    def __init__(self, model: ModelConfig, gather: Gather, classes: int) -> None:
        super().__init__(model, gather)
        self.classifier = nn.Linear(model.width, classes)
        nn.init.trunc_normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)


class Supervised(Base[Networks]):
    """The objective. It keeps no state between steps."""

    batch_keys: tuple[str, ...] = ("global_crops", "concepts")

    def __init__(self, config: SupervisedConfig, model: ModelConfig, gather: Gather, steps: int) -> None:
        """Raises ConfigError if the list of classes cannot be read or has fewer than two."""
        self.config, self.gather = config, gather
        classes = len(classes_of(config))
        if classes < 2:
            raise ConfigError(
                f"objective.classes: {config.classes!r} has {classes} classes; two are needed to tell apart"
            )
        self.networks = Networks(model, gather, classes)

    def embed(self, batch: Mapping[str, Tensor]) -> Embedded:
        score_AC = self.networks.classifier(self.networks.backbone(batch["global_crops"]).cls)
        concept_B = batch["concepts"]
        return {"score": score_AC, "class": concept_B.repeat(len(score_AC) // len(concept_B))}

    def compare(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        score_AC, class_A = embedded["score"], embedded["class"]
        loss, known = cross_entropy(score_AC, class_A, self.config.smoothing, self.gather)
        right = self.gather.all_reduce_sum((score_AC.argmax(1) == class_A).sum())
        without = torch.full_like(known, len(class_A) * self.gather.world) - known
        return loss, {"loss/top1": right / known.clamp(min=1), "loss/images_without_class": without.float()}
