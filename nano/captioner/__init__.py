"""The small world's language model: a tiny Llama that answers the same prompts as a big one.

`weights/` is an ordinary transformers folder. `train.py` makes it from scratch, `measure.py` says how good it is,
`CARD.md` tells both stories.
"""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
