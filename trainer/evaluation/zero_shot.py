"""Classes told in words: the class whose texts are nearest to the image, without a single labelled image.

CLIP, Radford et al. 2021, Sec. 3.1.4. Each name of a class is put into each template; the texts' unit features are
averaged over all of them, and the average made a unit again. An image is of the class with the largest cosine; the
scale of the logits changes no winner.

Images and texts meet in the common space of the objective's towers, so only encoders of objectives that learnt from
both have a result.

Shapes: N images, D features of the encoder, E of the common space, C classes, P texts, T numbers of a text.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from config import ConfigError
from shards import Storage
from trainer import vocabulary
from trainer.checkpoint import Checkpoints
from trainer.config import EvaluateConfig, ImageTextConfig, ObjectiveConfig, StableRepConfig
from trainer.evaluation.features import Features, InWords
from trainer.models.text import TextTower
from trainer.models.tokenizers import text_of

CHUNK: Final = 256  # texts that pass at once
Names = Sequence[Sequence[str]]
"""Of each class, the names it goes by."""
Embed = Callable[[Sequence[str]], Tensor]
"""Features [P, E] of texts."""


def evaluate(
    train: Features, test: Features, classes: Mapping[str, int], config: EvaluateConfig
) -> Iterator[tuple[str, float]]:
    """Yields `<task>_top1` (percent). No training image is looked at."""
    words = test.words
    assert words is not None, "only asked of encoders that have texts"
    image_NE = F.normalize(words.images, dim=1)
    for task in classes:
        right_N = (image_NE @ words.classes[task].T).argmax(1) == test.labels[task]
        yield f"{task}_top1", 100 * float(right_N.float().mean())


def reads_text(objective: ObjectiveConfig) -> bool:
    """Whether its networks have a text tower beside the encoder."""
    return isinstance(objective, ImageTextConfig) or (
        isinstance(objective, StableRepConfig) and objective.text_weight > 0
    )


def require_text(run: str, objective: ObjectiveConfig) -> None:
    """Raises ConfigError, saying which objectives have texts, if this one has none."""
    if not reads_text(objective):
        raise ConfigError(
            f"evaluators: zero_shot needs an encoder that learnt from images and texts, and run {run!r} is of "
            f"objective.kind {objective.kind}. Leave zero_shot out, or evaluate a run of clip, siglip, declip, or of "
            "stablerep with text_weight"
        )


def class_features(names: Names, templates: Sequence[str], embed: Embed) -> Tensor:
    """Unit features [C, E]: of each class, the mean over names and templates."""
    texts = [[template.format(name) for name in of_class for template in templates] for of_class in names]
    unit_PE = F.normalize(embed([text for of_class in texts for text in of_class]), dim=1)
    parts = unit_PE.split([len(of_class) for of_class in texts])
    return F.normalize(torch.stack([part.mean(0) for part in parts]), dim=1)


@dataclass(frozen=True)
class Read:
    """A checkpoint's way from features to the common space, and its text tower."""

    projection: Tensor
    """[E, D]"""
    embed: Embed

    def words(self, image_ND: Tensor, names: Mapping[str, Names], templates: Sequence[str]) -> InWords:
        """Images and classes in the common space."""
        classes = {task: class_features(of_task, templates, self.embed) for task, of_task in names.items()}
        return InWords(image_ND @ self.projection.T, classes)


def read(storage: Storage, run: str, step: int, objective: ObjectiveConfig, check: Callable[[], None]) -> Read:
    """Both from a checkpoint. `check` may raise between texts.

    Raises:
        ConfigError: the objective has no texts; says which have.
        DataError: the checkpoint is damaged.
    """
    require_text(run, objective)
    assert isinstance(objective, ImageTextConfig | StableRepConfig)
    weights = Checkpoints(storage, run).model(step)
    text = {key.removeprefix("text."): value for key, value in weights.items() if key.startswith("text.")}
    text = {key: value for key, value in text.items() if not key.startswith("guess.")}  # DeCLIP's, for masked words
    (vocabulary_size, _), (context, _) = text["token_embedding.weight"].shape, text["positional_embedding"].shape
    tower = TextTower(objective.text, vocabulary_size, context, text["text_projection"].shape[1])
    tower.load_state_dict(text)
    tokens = text_of(vocabulary.located(storage, run, objective))
    assert tokens is not None
    return Read(weights["image_projection.weight"], _embedding(tower.eval(), tokens, check))


def _embedding(tower: nn.Module, tokens: Callable[[str], list[int]], check: Callable[[], None]) -> Embed:
    @torch.inference_mode()
    def embed(texts: Sequence[str]) -> Tensor:
        parts = []
        for start in range(0, len(texts), CHUNK):
            check()
            parts.append(tower(torch.tensor([tokens(text) for text in texts[start : start + CHUNK]])))
        return torch.cat(parts)

    return embed
