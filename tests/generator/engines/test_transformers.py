"""The engine `transformers`: each caption throws dice of its own.

Hand-derived values: with probabilities (0.5, 0.3, 0.15, 0.05) the nucleus of 0.9 is the first three (0.5 + 0.3 = 0.8 is
not yet 0.9), which weigh 0.95; so 0.6 * 0.95 = 0.57 falls on the second token, 0.9 * 0.95 = 0.855 on the third.
"""

from pathlib import Path

import pytest
import torch

from config import ConfigError
from generator.config import CaptionConfig
from generator.engines import build
from generator.engines.transformers import TransformersEngine, choose

P = torch.tensor([0.5, 0.3, 0.15, 0.05])


def chosen(numbers: list[float], temperature: float = 1.0, top_p: float = 1.0, p: torch.Tensor = P) -> list[int]:
    logits_BV = p.log().expand(len(numbers), -1)
    return choose(logits_BV, torch.tensor(numbers), temperature, top_p).tolist()


def test_a_number_falls_on_a_token_by_its_probability() -> None:
    assert chosen([0.0, 0.49, 0.51, 0.79, 0.81, 0.94, 0.96, 0.9999999]) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_nucleus_leaves_out_what_comes_after() -> None:
    assert chosen([0.5, 0.6, 0.9, 0.9999999], top_p=0.9) == [0, 1, 2, 2]
    assert chosen([0.1, 0.9999999], top_p=0.5) == [0, 0]


def test_tokens_are_laid_out_in_the_order_of_the_vocabulary() -> None:
    assert chosen([0.04, 0.06, 0.9999999], p=P.flip(0)) == [0, 1, 3]
    assert chosen([0.0, 0.9999999], top_p=0.9, p=P.flip(0)) == [1, 3]


def test_temperature_sharpens_and_zero_takes_the_likeliest() -> None:
    # Squared and normalised: 0.25, 0.09, 0.0225, 0.0025 of 0.365, so the first token reaches up to 0.685.
    assert chosen([0.68, 0.69], temperature=0.5) == [0, 1]
    assert chosen([0.0, 0.9999999], temperature=0.0) == [0, 0]


@pytest.fixture(scope="module")
def engine(models_folder: Path) -> TransformersEngine:
    return TransformersEngine(CaptionConfig(model=str(models_folder / "captioner"), count=1, max_new_tokens=8, batch=3))


PROMPTS = ["a red star =>", "one\ntwo\na much longer prompt than the others =>", "fish =>", "sea =>"]


def test_the_same_call_gives_the_same_words(engine: TransformersEngine) -> None:
    assert engine.complete(PROMPTS, [1, 2, 3, 4]) == engine.complete(PROMPTS, [1, 2, 3, 4])


def test_a_caption_does_not_depend_on_its_batch(engine: TransformersEngine) -> None:
    together = engine.complete(PROMPTS, [1, 2, 3, 4])
    assert engine.complete(PROMPTS[::-1], [4, 3, 2, 1]) == together[::-1]
    assert [engine.complete([p], [s])[0] for p, s in zip(PROMPTS, [1, 2, 3, 4], strict=True)] == together


def test_another_seed_gives_other_words(engine: TransformersEngine) -> None:
    assert len(set(engine.complete(["a red star =>"] * 8, list(range(8))))) > 6


def test_a_caption_ends_at_its_line(engine: TransformersEngine) -> None:
    assert all("\n" not in text for text in engine.complete(["star =>"] * 32, list(range(32))))


def test_a_prompt_that_does_not_fit_is_refused(engine: TransformersEngine) -> None:
    with pytest.raises(ConfigError, match=r"reads 1024 tokens; a prompt has .*, and max_new_tokens 8 come on top"):
        engine.complete(["star " * 2000], [0])


def test_an_engine_is_built_by_its_name(models_folder: Path) -> None:
    assert isinstance(build(CaptionConfig(model=str(models_folder / "captioner"), count=1)), TransformersEngine)


def test_a_gpu_that_is_not_there_is_named(models_folder: Path) -> None:
    config = CaptionConfig(model=str(models_folder / "captioner"), count=1, device="cuda")
    with pytest.raises(ConfigError, match=r"caption\.device: there is no cuda device here; use auto or cpu"):
        build(config)
