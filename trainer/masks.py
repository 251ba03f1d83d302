"""iBOT's masks: a share of the global crops gets a share of its patches masked, both chosen at random."""

import numpy as np
from numpy.typing import NDArray

from trainer.draws import Draw, Ints, bits


def token_mask(
    seed: int, micro: int, rows: Ints, crops: int, tokens: int, masked_images: float, masked_tokens: float
) -> NDArray[np.bool_]:
    """True where a patch is masked, [len(rows), tokens].

    `micro` numbers the micro-batch in the run and `rows` says which of its `crops` global crops (over all ranks) are
    asked for: exactly int(crops * masked_images) of all have int(tokens * masked_tokens) patches masked, whichever
    ranks hold them.
    """
    chosen = np.zeros(crops, np.bool_)
    chosen[np.argsort(bits(seed, Draw.MASKED_IMAGES, micro, np.arange(crops)))[: int(crops * masked_images)]] = True
    mask = np.zeros((len(rows), tokens), np.bool_)
    noise = bits(seed, Draw.MASKED_TOKENS, micro, rows[:, None], np.arange(tokens))
    np.put_along_axis(mask, np.argsort(noise, axis=1)[:, : int(tokens * masked_tokens)], True, axis=1)
    return mask & chosen[rows, None]
