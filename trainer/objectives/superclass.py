"""SuperClass: the subwords of its caption are the classes of an image ("Classification Done Right for Vision-Language
Pre-Training", Huang et al. 2024, Eq. 1-3).

    L = mean over images of  - sum_v t_v log softmax(z)_v,   t = w y / sum(w y)

y says which subwords the caption has, and w_v how rare each was in the captions seen so far: log((N + 1) / (df_v + 1)).
There is no text tower. The paper's other losses (its Table 6) stand in losses/subwords.py.

The image's feature is the mean of its patches; a ResNet's is what its attention gives. Counts N and df include the
batch, both as in the reference; they are whole numbers and part of the checkpoint, and move after the step, so that a
step which is dropped does not count.

What deviates: begin, end and filling are left out of y. The reference keeps them and trusts their weight to be 0, as it
is until one caption fills the whole context; then an empty caption has filling for its only class. The norm before the
mean is over each patch (timm's), where the reference norms the mean only; the head norms the mean here too.

Shapes: B captions of this rank, A images (trainer/batch.py: G), T numbers of a text, D width, V subwords.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainer.concepts import LISTS, read_list
from trainer.config import ModelConfig, SuperClassConfig
from trainer.distributed import Gather
from trainer.losses import subwords
from trainer.losses.precision import at_least_fp32, without_autocast
from trainer.models.encoder import exported
from trainer.models.tokenizers import PAD, Tokenizer, tokenizer
from trainer.objectives.base import Backbone, Base
from trainer.objectives.protocol import Embedded


class Networks(Backbone):
    """The encoder, its classifier and the counts."""

    captions: Tensor
    frequency: Tensor

    def __init__(self, model: ModelConfig, gather: Gather, size: int) -> None:
        super().__init__(model, gather)
        self.norm = nn.LayerNorm(model.width)
        self.classifier = nn.Linear(model.width, size)
        nn.init.normal_(self.classifier.weight, std=model.width**-0.5)
        nn.init.zeros_(self.classifier.bias)
        # Whole numbers: no cast to another precision touches them, and sums are exact on any number of ranks.
        self.register_buffer("captions", torch.zeros((), dtype=torch.int64))
        self.register_buffer("frequency", torch.zeros(size, dtype=torch.int64))


class SuperClass(Base[Networks]):
    """The objective."""

    batch_keys: tuple[str, ...] = ("global_crops", "tokens")

    def __init__(self, config: SuperClassConfig, model: ModelConfig, gather: Gather, steps: int) -> None:
        """Raises ConfigError if the tokenizer's file cannot be read."""
        self.config, self.gather = config, gather
        words = tokenizer(config.tokenizer)
        self.size, self.without = words.size, left_out(words, stop_words=config.stop_words)
        self.networks = Networks(model, gather, words.size)
        self._feature = exported(self.networks.backbone, average=True)
        self._counted: tuple[Tensor, Tensor] | None = None

    def encoder(self) -> nn.Module:
        return self._feature

    def embed(self, batch: Mapping[str, Tensor]) -> Embedded:
        networks, token_BT = self.networks, batch["tokens"]
        score_AV = networks.classifier(networks.norm(self._feature(batch["global_crops"])))
        return {"score": score_AV, "of_image": token_BT.repeat(len(score_AV) // len(token_BT), 1), "tokens": token_BT}

    def compare(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        captions, frequency_V = self._counts(embedded["tokens"])
        there_AV = subwords.presence(embedded["of_image"], self.size, self.without)
        with without_autocast(there_AV):
            score_AV = at_least_fp32(embedded["score"])
            if self.config.loss == "softmax":
                weight_V = subwords.rarity(frequency_V, captions) if self.config.idf else torch.ones_like(score_AV[0])
                loss_A = subwords.softmax(score_AV, there_AV, weight_V)
            elif self.config.loss == "two_way":
                loss_A = subwords.two_way(score_AV, there_AV, self.gather)
            else:
                loss_A = subwords.PLAIN[self.config.loss](score_AV, there_AV)
        return loss_A.mean(), {"loss/subwords_seen": (frequency_V > 0).sum().float()}

    def after_step(self, step: int) -> None:
        """The captions of the step count as seen."""
        super().after_step(step)
        if self._counted is not None:
            self.networks.captions.copy_(self._counted[0])
            self.networks.frequency.copy_(self._counted[1])
        self._counted = None

    def _counts(self, token_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Captions and how many of them have each subword, with those of this batch and all ranks, which only
        `after_step` keeps."""
        there_BV = subwords.presence(token_BT, self.size, self.without)
        more = torch.tensor(len(token_BT) * self.gather.world, device=token_BT.device)
        frequency_V = self.networks.frequency + self.gather.all_reduce_sum(there_BV.sum(0))
        self._counted = self.networks.captions + more, frequency_V
        return self._counted


def left_out(words: Tokenizer, *, stop_words: bool) -> list[int]:
    """Numbers that are no class: filling, begin and end; without stop words also each of them that is one number."""
    numbers = [PAD, words.size - 2, words.size - 1]
    if not stop_words:
        listed = (words.pieces(word) for word in read_list("stop words", str(LISTS / "stop_words.txt")))
        numbers += [pieces[0] for pieces in listed if len(pieces) == 1]
    return sorted(set(numbers))
