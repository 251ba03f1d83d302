"""Every objective made small, and a batch that all of them can read."""

import torch
from torch import Tensor

from trainer import objectives
from trainer.config import (
    CLIPConfig,
    DeCLIPConfig,
    ModelConfig,
    ObjectiveConfig,
    SigLIPConfig,
    SimCLRConfig,
    StableRepConfig,
    SuperClassConfig,
    SupervisedConfig,
    SynCLRConfig,
    TextConfig,
    TokenizerConfig,
)
from trainer.distributed import Gather, Single
from trainer.objectives.protocol import Comparing

MODEL = ModelConfig(image_size=16, patch_size=8, width=16, depth=1, heads=2, drop_path=0.0)
RESNET = ModelConfig(resnet=(1, 2, 1, 1), image_size=64, patch_size=32, width=128, heads=2, drop_path=0.0)
"""A last map of 2 x 2, and channels from 2 to 128."""
WORDS = TokenizerConfig(kind="words", context=8)
TEXT = TextConfig(width=16, depth=1, heads=2)
CAPTIONS, VIEWS, LOCAL = 4, 4, 2

CONFIGS: dict[str, ObjectiveConfig] = {
    "synclr": SynCLRConfig(projector_hidden=16, embedding=8, prototypes=12, ibot_hidden=16, ibot_bottleneck=8),
    "synclr batch": SynCLRConfig(projector_hidden=16, embedding=8, ibot_weight=0.0, head_norm="batch"),
    "simclr": SimCLRConfig(projector_hidden=16, embedding=8),
    "simclr batch": SimCLRConfig(projector_hidden=16, embedding=8, head_norm="batch"),
    "supervised": SupervisedConfig(),
    "stablerep": StableRepConfig(projector_hidden=16, embedding=8),
    "stablerep batch": StableRepConfig(projector_hidden=16, embedding=8, head_norm="batch"),
    "stablerep plus": StableRepConfig(
        projector_hidden=16, embedding=8, text_weight=0.7, text_embedding=8, tokenizer=WORDS, text=TEXT
    ),
    "clip": CLIPConfig(embedding=8, tokenizer=WORDS, text=TEXT),
    "siglip": SigLIPConfig(embedding=8, tokenizer=WORDS, text=TEXT, exchange="ring"),
    "declip": DeCLIPConfig(
        embedding=8,
        siamese_hidden=8,
        predictor_hidden=4,
        queue=12,
        head_norm="layer",
        tokenizer=WORDS,
        text=TEXT,
    ),
    "declip batch": DeCLIPConfig(
        embedding=8, siamese_hidden=8, predictor_hidden=4, queue=12, tokenizer=WORDS, text=TEXT, exchange="ring"
    ),
    "superclass": SuperClassConfig(tokenizer=WORDS),
    "superclass two-way": SuperClassConfig(tokenizer=WORDS, loss="two_way"),
}

OF_THEIR_BATCH = [name for name, config in CONFIGS.items() if getattr(config, "head_norm", "layer") == "batch"]
"""Those with BatchNorm: of a micro-batch, so that parts of a batch are not exactly the batch."""


def small(name: str, gather: Gather | None = None, model: ModelConfig = MODEL) -> Comparing:
    """With weights from seed 0."""
    torch.manual_seed(0)
    objective = objectives.build(CONFIGS[name], model, gather or Single(), steps=100)
    assert isinstance(objective, Comparing)
    return objective


def batch(captions: slice = slice(CAPTIONS)) -> dict[str, Tensor]:
    """The same batch of 4 captions with 4 views each at every call, or the part of some of them, in float64."""
    generator = torch.Generator().manual_seed(1)
    crops = torch.randn(VIEWS, CAPTIONS, 3, 16, 16, generator=generator, dtype=torch.float64)
    label = torch.tensor([40, 10, 30, 20])
    token = torch.randint(2, 90, (CAPTIONS, 8), generator=generator)
    token[:, 0], token[:, 5], token[:, 6:] = 97, 98, 0  # begin, end, filling of the small world's 95 words
    changed, guess = token.clone(), torch.full_like(token, -1)
    changed[:, 0], changed[:, 1:5], changed[:, 5] = 97, token[:, [2, 1, 4, 3]], 99
    masked = torch.where(token == 98, 99, token)  # the end makes room for the mask
    for caption, place in ((0, 2), (0, 3), (2, 1)):
        guess[caption, place], masked[caption, place] = token[caption, place], 98
    local = torch.randn(LOCAL, VIEWS, CAPTIONS, 3, 8, 8, generator=generator, dtype=torch.float64)
    mask = torch.zeros(VIEWS, CAPTIONS, 4, dtype=torch.bool)
    for view, caption, patches in ((0, 0, 2), (1, 0, 3), (2, 0, 1), (3, 2, 2)):  # most of the masked are of caption 0
        mask[view, caption, :patches] = True
    return {
        "global_crops": crops[:, captions].flatten(0, 1),
        "local_crops": local[:, :, captions].flatten(0, 2),
        "mask": mask[:, captions].flatten(0, 1),
        "labels": label[captions],
        "images": label[captions].repeat(VIEWS),
        "positions": torch.tensor([5, 6, 7, 8])[captions],
        "tokens": token[captions],
        "masked": masked[captions],
        "guesses": guess[captions],
        "changed": changed[captions],
        "concepts": torch.tensor([3, -1, 5, 3])[captions],
    }


def enlarged(small_batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The batch with crops of 64 pixels, for `RESNET`."""
    return small_batch | {"global_crops": small_batch["global_crops"].repeat_interleave(4, 2).repeat_interleave(4, 3)}


def parts(count: int, of: slice = slice(CAPTIONS)) -> list[dict[str, Tensor]]:
    """The batch, cut into so many."""
    each = (of.stop - (of.start or 0)) // count
    return [batch(slice(start, start + each)) for start in range(of.start or 0, of.stop, each)]
