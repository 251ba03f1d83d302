"""DeCLIP: CLIP, and what images and texts teach besides ("Supervision Exists Everywhere: A Data Efficient Contrastive
Language-Image Pre-training Paradigm", Li et al. 2022, Eq. 8).

    L = (1 - a - b - g) L_clip + a (L_images + L_texts) + b L_views + g L_neighbours

    L_clip         CLIP's loss of an image's first view and its caption's first view (masked; text_views.py)
    L_images       SimSiam between both views of an image: - (cos(p_1, z_2) + cos(p_2, z_1)) / 2, z without gradient
    L_texts        cross entropy of the masked words of the first view, the mean over those of all ranks
    L_views        CLIP's loss of the other three pairs of views, the mean of them
    L_neighbours   a view of an image finds, among those of all captions, the text nearest to its own caption's in a
                   queue of former texts: logsumexp_j s x_i.n_j - s x_i.n_i, the mean over the four pairs of views

The scale s is one for all. The queue holds the newest texts of all ranks, both views, in the order of the run. It is
part of the checkpoint and moves after the step; neighbours are looked for before, so no text is its own neighbour.

What deviates from the authors' code: its queue is each rank's own, begins with random vectors, is not saved, and drops
what is left over when it wraps round; here only what was put in is found (until then L_neighbours is 0), and it wraps.
Its weights are 0.4 for the mean of L_clip and L_views' pairs; the equation is the paper's. BatchNorm in SimSiam's heads
is over all ranks. The image tower is the ViT of the other objectives, or CLIP's ResNet. Synonyms come from a file.

Shapes: B captions of this rank, I images (views apart), T numbers of a text, D width, E embedding, M masked words of
this rank, Q the queue.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.config import DeCLIPConfig, ModelConfig
from trainer.distributed import Gather
from trainer.losses.contrastive import NO_KEY, multi_positive, symmetric, unit
from trainer.losses.precision import at_least_fp32, without_autocast
from trainer.losses.route import ROUTES
from trainer.losses.tiles import LARGE_TILE
from trainer.models.heads import siamese_heads
from trainer.models.text import Temperature, TextTower, image_projection
from trainer.models.tokenizers import tokenizer
from trainer.models.vit import ViT
from trainer.objectives.base import Backbone, Base
from trainer.objectives.protocol import Embedded
from trainer.text_views import NOTHING


class Texts(NamedTuple):
    """What becomes of texts."""

    feature: Tensor
    """[B, E]"""
    word_loss: Tensor
    """[M] Cross entropy of each word that was to be guessed."""


class GuessingTower(TextTower):
    """CLIP's text tower, with a linear layer that guesses masked words from what is before them."""

    def __init__(self, config: DeCLIPConfig, size: int, context: int) -> None:
        super().__init__(config.text, size, context, config.embedding)
        self.guess = nn.Linear(config.text.width, size)
        nn.init.normal_(self.guess.weight, std=config.text.width**-0.5)
        nn.init.zeros_(self.guess.bias)

    def forward(self, token_BT: Tensor, guess_BT: Tensor) -> Texts:  # type: ignore[override]  # the plain one's features
        state_BTW = self.states(token_BT)
        asked_BT = guess_BT != NOTHING
        score_MV = self.guess(state_BTW[asked_BT])
        with without_autocast(score_MV):
            word_loss_M = F.cross_entropy(at_least_fp32(score_MV), guess_BT[asked_BT], reduction="none")
        return Texts(self.at_end(state_BTW, token_BT), word_loss_M)


class Networks(Backbone):
    """Both towers, SimSiam's heads, the temperature and the queue."""

    queue: Tensor
    queued: Tensor

    def __init__(self, config: DeCLIPConfig, model: ModelConfig, gather: Gather) -> None:
        super().__init__(model, gather)
        words = tokenizer(config.tokenizer)
        if config.freeze_stem:
            assert isinstance(self.backbone, ViT), "PretrainConfig refuses it"
            self.backbone.patch_embed.requires_grad_(False)
        self.image_projection = image_projection(model.width, config.embedding)
        self.projector, self.predictor = siamese_heads(
            config.embedding,
            config.siamese_hidden,
            config.predictor_hidden,
            gather if config.head_norm == "batch" else None,
        )
        self.text = GuessingTower(config, words.size + 1, words.context)  # one more: the mask
        self.temperature = Temperature(config.scale_start, config.scale_max)
        self.register_buffer("queue", torch.zeros(config.queue, config.embedding))
        # How many were ever put in: the next one's place, and how full it is.
        self.register_buffer("queued", torch.zeros((), dtype=torch.int64))


class DeCLIP(Base[Networks]):
    """The objective."""

    batch_keys: tuple[str, ...] = ("global_crops", "labels", "positions", "masked", "guesses", "changed")

    def __init__(self, config: DeCLIPConfig, model: ModelConfig, gather: Gather, steps: int) -> None:
        """Raises ConfigError if the tokenizer's file cannot be read."""
        self.config, self.gather, self.route = config, gather, ROUTES[config.exchange](gather)
        self.networks = Networks(config, model, gather)
        self._seen: tuple[Tensor, Tensor, Tensor] | None = None

    def embed(self, batch: Mapping[str, Tensor]) -> Embedded:
        networks, label_B = self.networks, batch["labels"]
        image_AE = networks.image_projection(networks.backbone(batch["global_crops"]).cls)
        image_IE = image_AE.chunk(2)  # crops are in the order of the views
        projected_IE = [networks.projector(view) for view in image_IE]
        predicted_IE = [networks.predictor(view) for view in projected_IE]
        masked = networks.text(batch["masked"], batch["guesses"])
        changed = networks.text(batch["changed"], torch.full_like(batch["changed"], NOTHING))
        return {
            "image_1": image_IE[0],
            "image_2": image_IE[1],
            "caption_of_image": label_B.repeat(len(image_IE[0]) // len(label_B)),
            "siamese": siamese(predicted_IE[0], predicted_IE[1], projected_IE[0], projected_IE[1]),
            "text_1": masked.feature,
            "text_2": changed.feature,
            "caption": label_B,
            "position": batch["positions"],
            "word_loss": masked.word_loss,
        }

    def compare(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        config, temperature = self.config, self.networks.temperature()
        images, texts = [(embedded[f"{kind}_1"], embedded[f"{kind}_2"]) for kind in ("image", "text")]
        label_I, label_B = embedded["caption_of_image"], embedded["caption"]
        pairs = torch.stack(
            [symmetric(image, text, label_I, label_B, temperature, self.route) for image in images for text in texts]
        )
        terms = {
            "loss/clip": pairs[0],
            "loss/views": pairs[1:].mean(),
            "loss/siamese": embedded["siamese"].mean(),
            "loss/words": mean_over_ranks(embedded["word_loss"], self.gather),
            "loss/neighbours": self._neighbours(images, texts, label_I, label_B, temperature),
        }
        alone, views, neighbours = config.alone_weight, config.views_weight, config.neighbours_weight
        weights = (1 - alone - views - neighbours, views, alone, alone, neighbours)
        loss = torch.stack([weight * term for weight, term in zip(weights, terms.values(), strict=True)]).sum()
        self._seen = texts[0].detach(), texts[1].detach(), embedded["position"]
        metrics = {name: term.detach() for name, term in terms.items()}
        return loss, metrics | {"loss/temperature": temperature.detach()}

    def shared(self) -> list[nn.Parameter]:
        return list(self.networks.temperature.parameters())

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """The texts of the step, of all ranks and in the order of the run, are put into the queue."""
        super().after_step(step)
        if self._seen is None:
            return
        masked_BE, changed_BE, position_B = (self.gather.all_gather(each) for each in self._seen)
        order_B = position_B.argsort()
        text_NE = unit(torch.cat([changed_BE[order_B], masked_BE[order_B]]))
        put(self.networks.queue, self.networks.queued, text_NE)
        self._seen = None

    def _neighbours(
        self, images: tuple[Tensor, ...], texts: tuple[Tensor, ...], label_I: Tensor, label_B: Tensor, scale: Tensor
    ) -> Tensor:
        """The mean over the pairs of views; 0 while the queue is empty."""
        none_I = torch.full_like(label_I, NO_KEY)
        losses = []
        for text_BE in texts:
            near_BE = nearest(text_BE.detach(), self.networks.queue, self.networks.queued)
            for image_IE in images:
                loss_I, _ = multi_positive(image_IE, near_BE, label_I, label_B, none_I, scale, route=self.route)
                losses.append(loss_I.mean())
        return torch.stack(losses).mean() * (self.networks.queued > 0)


def siamese(predicted_1: Tensor, predicted_2: Tensor, projected_1: Tensor, projected_2: Tensor) -> Tensor:
    """SimSiam's loss of each image, from all [I, E]: - (cos(p_1, z_2) + cos(p_2, z_1)) / 2; z is a constant."""
    one = unit(predicted_1) * unit(projected_2.detach())
    two = unit(predicted_2) * unit(projected_1.detach())
    return -(one + two).sum(1) / 2


def mean_over_ranks(value_M: Tensor, gather: Gather) -> Tensor:
    """This rank's part of the mean over the values of all ranks, times the ranks: the mean over ranks, of values and of
    gradients, is the global one, however many each has. 0 if there are none."""
    count = gather.all_reduce_sum(torch.tensor(len(value_M), device=value_M.device))
    return value_M.sum() * gather.world / count.clamp(min=1)


@torch.no_grad()
def nearest(text_BE: Tensor, queue_QE: Tensor, queued: Tensor, tile: int = LARGE_TILE) -> Tensor:
    """The entry of the queue with the largest cosine to each text, [B, E], among those that were put in. At most `tile`
    cosines are held at once. Of an empty queue, anything."""
    absent_Q = torch.arange(len(queue_QE), device=queue_QE.device) >= queued
    with without_autocast(text_BE):
        text_BE = unit(text_BE).to(queue_QE.dtype)
        found = [
            (part @ queue_QE.T).masked_fill_(absent_Q, -2.0).argmax(1)  # no cosine is so small
            for part in text_BE.split(max(1, tile // len(queue_QE)))
        ]
    return queue_QE[torch.cat(found)]


@torch.no_grad()
def put(queue_QE: Tensor, queued: Tensor, text_NE: Tensor) -> None:
    """Put texts in, in their order, in place of the oldest; both tensors change. Of more than fit, the last."""
    count, size = len(text_NE), len(queue_QE)
    place_N = (queued + torch.arange(count, device=queued.device)) % size
    queue_QE[place_N[-size:]] = text_NE[-size:].to(queue_QE.dtype)
    queued += count
