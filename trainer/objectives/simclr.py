"""SimCLR: two views of one image attract each other ("A Simple Framework for Contrastive Learning of Visual
Representations", Chen et al. 2020, Eq. 1), the self-supervised column of SynCLR's Table 5.

    L = mean over views a of  logsumexp_{j not a} (z_a.z_j / t)  -  z_a.z_p / t

a runs over both views of all images, j over all views of all ranks, p is the image's other view. Images of one caption
are strangers to each other: what a caption says teaches nothing here. With more than two views of an image the mean
over its others stands for p.

What deviates: a ViT with SynCLR's projector and AdamW, where the paper has a ResNet and LARS; LayerNorm in the
projector where it has BatchNorm, unless `head_norm` asks for that, so that what an image gives does not depend on
micro-batches.

Shapes: A views of this rank (trainer/batch.py: G), E embedding.
"""

from collections.abc import Mapping

from torch import Tensor

from trainer.config import ModelConfig, SimCLRConfig
from trainer.distributed import Gather
from trainer.losses.contrastive import among
from trainer.losses.route import ROUTES
from trainer.models.heads import contrastive_head
from trainer.objectives.base import Backbone, Base
from trainer.objectives.protocol import Embedded


class Networks(Backbone):
    """The encoder and its projector; only the encoder is kept in the end."""

    def __init__(self, config: SimCLRConfig, model: ModelConfig, gather: Gather) -> None:
        super().__init__(model, gather)
        batch_of = gather if config.head_norm == "batch" else None
        self.projector = contrastive_head(
            model.width, config.projector_hidden, config.embedding, config.projector_layers, batch_of
        )


class SimCLR(Base[Networks]):
    """The objective. It keeps no state between steps."""

    batch_keys: tuple[str, ...] = ("global_crops", "images")

    def __init__(self, config: SimCLRConfig, model: ModelConfig, gather: Gather, steps: int) -> None:
        self.config, self.route = config, ROUTES[config.exchange](gather)
        self.networks = Networks(config, model, gather)

    def embed(self, batch: Mapping[str, Tensor]) -> Embedded:
        view_AE = self.networks.projector(self.networks.backbone(batch["global_crops"]).cls)
        return {"view": view_AE, "image": batch["images"]}

    def compare(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        loss_A, _ = among(embedded["view"], embedded["image"], self.config.temperature, self.route)
        return loss_A.mean(), {}
