"""SigLIP: every image and text decide by themselves whether they belong together ("Sigmoid Loss for Language Image
Pre-Training", Zhai et al. 2023, Algorithm 1).

    L = mean over images i of  sum over texts t of  log(1 + exp(-y_it (s x_i.y_t + b))),    y = 1 for a pair, else -1

x and y are unit features of images and texts, of all ranks; scale s and bias b are learned, from 10 and -10. No pair
needs another, so there is no softmax over the batch. A caption that comes twice in a batch is no negative of itself.

What deviates: the image tower is the ViT of the other objectives with its class token, and the text tower CLIP's causal
one, where the paper has its own with attention pooling and a SentencePiece vocabulary.

Shapes: B captions of this rank, A images (trainer/batch.py: G), D width, E embedding.
"""

from torch import Tensor, nn

from trainer.config import ModelConfig, SigLIPConfig
from trainer.distributed import Gather
from trainer.losses.contrastive import sigmoid
from trainer.models.text import Learned
from trainer.objectives.base import Pairs, Towers
from trainer.objectives.protocol import Embedded


class Networks(Towers):
    """Both towers, temperature and bias."""

    def __init__(self, config: SigLIPConfig, model: ModelConfig, gather: Gather) -> None:
        super().__init__(config, model, gather)
        self.bias = Learned(config.bias_start)


class SigLIP(Pairs[Networks]):
    """The objective. It keeps no state between steps."""

    def __init__(self, config: SigLIPConfig, model: ModelConfig, gather: Gather, steps: int) -> None:
        """Raises ConfigError if the tokenizer's file cannot be read."""
        super().__init__(config, Networks(config, model, gather), gather)

    def compare(self, embedded: Embedded) -> tuple[Tensor, dict[str, Tensor]]:
        temperature, bias = self.networks.temperature(), self.networks.bias()
        features, labels = (embedded["image"], embedded["text"]), (embedded["caption_of_image"], embedded["caption"])
        loss = sigmoid(*features, *labels, temperature, bias, self.route)
        return loss, {"loss/temperature": temperature.detach(), "loss/bias": bias.detach().clone()}

    def shared(self) -> list[nn.Parameter]:
        return [*super().shared(), *self.networks.bias.parameters()]
