"""How good the captioner is, asked as the caption stage asks it: `python -m nano.captioner.measure`.

Requests, prompts and dice are those of the recipe `nano`, engine `transformers`, temperature 0.8, top-p 0.9; each
completion is the model's first answer, where the stage would draw a bad one anew. Writes quality.json.
"""

import argparse
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from generator import caption, concepts
from generator.concepts import Request
from generator.config import GenerateConfig
from generator.engines.transformers import TransformersEngine
from generator.prompt import completion
from generator.recipes.nano import nano
from generator.seeds import seed_of
from nano import captions
from nano import vocabulary as words
from nano.captioner import WEIGHTS

QUALITY: Final = WEIGHTS.parent / "quality.json"
Quality = dict[str, int | float | dict[str, float]]


def measure(weights: Path, count: int, seed: int) -> Quality:
    """Shares of `count` captions: as asked (by pool and in all), distinct; and how even the words are."""
    config = _config(weights, seed)
    source = concepts.load(config.concept, contexts=config.caption.contexts, seed=seed)
    requests = [source.request(index) for index in range(count)]
    engine = TransformersEngine(config.caption)
    texts = write(engine, requests, config)
    right = Counter(request.pool for request, text in zip(requests, texts, strict=True) if as_asked(text, request))
    asked = Counter(request.pool for request in requests)
    return {
        "captions": count,
        "parameters": engine.model.num_parameters(),
        "as_asked": right.total() / count,
        "as_asked_by_pool": {pool: right[pool] / asked[pool] for pool in sorted(asked)},
        "well_formed": sum(well_formed(text) for text in texts) / count,
        "distinct": len(set(texts)) / count,
        **{f"evenness_of_{name}": evenness(found, among) for name, (found, among) in _free(requests, texts).items()},
    }


def _config(weights: Path, seed: int) -> GenerateConfig:
    config = nano()
    settings = config.caption.model_copy(update={"model": str(weights), "seed": seed, "batch": 128})
    return config.model_copy(update={"caption": settings})


def write(engine: TransformersEngine, requests: Sequence[Request], config: GenerateConfig) -> list[str]:
    """The model's first answer to each request."""
    pools = caption.load_pools(config, concepts.load(config.concept, contexts=1, seed=0))
    prompts = [caption.ask(request, pools, config.caption) for request in requests]
    seeds = [seed_of(config.caption.seed, "dice", request.draws, 0) for request in requests]
    return [completion(text) for text in engine.complete(prompts, seeds)]


def as_asked(text: str, request: Request) -> bool:
    """Whether a caption names what was asked and is one of the world: one thing, or two in the asked relation.

    Stricter than the caption stage's own check: each thing has one shape and one colour, and the concept comes first.
    """
    told = captions.parse(text)
    things = 2 if request.template == "relation" else 1
    return (
        captions.names(text, request.concept)
        and (request.other is None or captions.names(text, request.other))
        and len(told.shapes) == len(told.colours) == things
        and (request.pool in ("place", "texture") or told.shapes[0] == request.concept)
        and (told.relation is not None) == (things == 2)
    )


def well_formed(text: str) -> bool:
    """Whether the world itself could have said `text`, word for word."""
    return _GRAMMAR.fullmatch(text) is not None


def _one_of(phrases: Iterable[str]) -> str:
    return f"(?:{'|'.join(sorted(set(phrases), key=len, reverse=True))})"


def _grammar() -> re.Pattern[str]:
    """What nano.captions.describe can say, as a regular expression."""
    sizes, textures, places, positions, relations = (
        _one_of(chain.from_iterable(table.values()))
        for table in (
            words.SIZE_WORDS,
            words.TEXTURE_WORDS,
            words.BACKGROUND_PHRASES,
            words.POSITION_PHRASES,
            words.RELATION_PHRASES,
        )
    )
    article = "(?:an(?= [aeiou])|a(?= [^aeiou]))"
    noun = f"{article}(?: {sizes})?(?: {textures})? {_one_of(words.COLOURS)} {_one_of(words.SHAPES)}"
    one = f"(?: {places})?(?: {positions})?|(?: {positions})(?: {places})"
    return re.compile(f"{_one_of(words.OPENINGS)}{noun}(?:{one}|(?: {relations} {noun})(?: {places})?)")


_GRAMMAR: Final = _grammar()


def _free(requests: Sequence[Request], texts: Sequence[str]) -> dict[str, tuple[Counter[str], Sequence[str]]]:
    """What captions say where the request left it open: counts by word, and all the words there are."""
    told = [(request.pool, captions.parse(text)) for request, text in zip(requests, texts, strict=True)]
    open_background = ("object", "relation", "texture")
    return {
        "colours": (_count(t.colours[0] for _, t in told if t.colours), tuple(words.COLOURS)),
        "textures": (_count(t.texture for pool, t in told if pool != "texture"), words.TEXTURES),
        "backgrounds": (_count(t.background for pool, t in told if pool in open_background), words.BACKGROUNDS),
        "sizes": (_count(t.size for _, t in told), tuple(words.SIZES)),
        "second_shapes": (_count(t.shapes[1] for _, t in told if len(t.shapes) == 2), words.SHAPES),
    }


def _count(found: Iterable[str | None]) -> Counter[str]:
    return Counter(word for word in found if word is not None)


def evenness(found: Counter[str], among: Sequence[str]) -> dict[str, float]:
    """Entropy as a share of the largest possible; rarest and commonest word against a uniform draw (1 is uniform)."""
    shares = [found[word] / max(found.total(), 1) for word in among]
    entropy = -sum(share * math.log(share) for share in shares if share)
    return {
        "entropy": entropy / math.log(len(among)),
        "rarest": min(shares) * len(among),
        "commonest": max(shares) * len(among),
    }


def rounded(value: object) -> object:
    """`value` with its floats at four digits after the point."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="transformers folder of the captioner")
    parser.add_argument("--quality", type=Path, default=QUALITY, help="where the result goes")
    parser.add_argument("--count", type=int, default=10_000, help="captions")
    parser.add_argument("--seed", type=int, default=0, help="of requests and dice")
    arguments = parser.parse_args()
    text = json.dumps(rounded(measure(arguments.weights, arguments.count, arguments.seed)), indent=2)
    arguments.quality.write_text(f"{text}\n", "utf-8")
    print(text)


if __name__ == "__main__":
    main()
