"""Stage `caption`: a language model writes a caption for every request of the concept lists.

    python -m generator.caption --recipe nano --root runs/nano

request -> prompt -> completion -> check, else drawn anew -> caption shard

A unit of work is `caption.per_unit` captions, committed as one shard of `<root>/captions`. Any number of workers share
the units; a killed worker's unit is done again by another, or by the same command, with the same result.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from config import ConfigError, DataError
from config.cli import run
from config.progress import Progress
from generator import concepts, engines, files, prompt
from generator.check import faults
from generator.concepts import Concepts, Request
from generator.config import CaptionConfig, GenerateConfig
from generator.engines import CaptionEngine
from generator.prompt import Pools
from generator.recipes import RECIPES
from generator.seeds import seed_of
from generator.work import caption_settings, refuse_other_settings, stoppable, work
from shards import Marker, Sample, Storage, commit, committed, dataset_digest, markers, read_samples
from tracking import Run, stage_run

STAGE: Final = "captions"
_SUMMARY: Final = 10_000  # captions that the summary reads for its share of distinct ones


@dataclass
class Caption:
    """One request and what the model made of it so far."""

    request: Request
    text: str = ""
    attempts: int = 0
    seed: int = 0
    flags: tuple[str, ...] = field(default=("not written",))


def caption(config: GenerateConfig) -> None:
    """Writes all captions of the run that are not committed yet, together with whoever else works under the root."""
    storage = Storage(config.root)
    source = concepts.load(config.concept, contexts=config.caption.contexts, seed=config.caption.seed)
    pools = load_pools(config, source)
    settings = caption_settings(config, _inputs(config))
    refuse_other_settings(storage, STAGE, settings)
    units = config.caption.units
    initial = sum(len(units[unit]) for unit in committed(storage, STAGE))
    engine: CaptionEngine | None = None
    with (
        stage_run(config.tracking, "caption", root=config.root, params=config, ledger=storage) as tracked,
        Progress("caption", unit="captions", total=config.caption.count, initial=initial) as progress,
    ):
        for lease in work(storage, STAGE, config.lease, units, lambda: units, progress, 1):
            started = time.monotonic()
            engine = engine or engines.build(config.caption)  # not before there is work: a finished stage loads nothing
            requests = [source.request(index) for index in units[lease.unit]]
            written = write(engine, requests, pools, config.caption)
            _refuse_nonsense(written, config.caption, lease.unit)
            statistics = count(written) | {"seconds": time.monotonic() - started}
            commit(
                storage, STAGE, lease.unit, samples(written, config.caption), units=len(units), attempt=lease.attempt,
                statistics=statistics, config={"settings": settings, "versions": dict(engine.versions)},
            )  # fmt: skip
            progress.add(len(written), flagged=statistics["flagged"])
            tracked.log_metrics(_metrics(statistics), step=int(lease.unit))
        summarise(storage, config, tracked)


def write(engine: CaptionEngine, requests: Sequence[Request], pools: Pools, config: CaptionConfig) -> list[Caption]:
    """A caption for each request. What fails the check is drawn anew, with dice of its own for each attempt."""
    captions = [Caption(request) for request in requests]
    for attempt in range(config.max_attempts):
        failed = [one for one in captions if one.flags]
        if not failed:
            break
        for one in failed:
            one.seed = seed_of(config.seed, "dice", one.request.draws, attempt)
        texts = engine.complete([ask(one.request, pools, config) for one in failed], [one.seed for one in failed])
        for one, text in zip(failed, texts, strict=True):
            one.text, one.attempts = prompt.completion(text), attempt + 1
            one.flags = faults(one.text, one.request, config)
    return captions


def ask(request: Request, pools: Pools, config: CaptionConfig) -> str:
    """The prompt for a request."""
    examples = prompt.context(pools[request.pool], config.seed, request.pool, request.context)
    return prompt.prompt(request.template, examples, request.concept, request.other)


def load_pools(config: GenerateConfig, source: Concepts) -> Pools:
    """The example pools, each one that the lists need among them.

    Raises:
        ConfigError: a pool is missing or malformed.
    """
    pools = prompt.load_pools(files.locate(config.caption.examples, "caption.examples"))
    for i, one in enumerate(source.lists):
        names = (one.pool, "background", "relation")
        needed = [name for name, weight in zip(names, one.templates, strict=True) if weight]
        for name in needed:
            if name not in pools:
                known = ", ".join(sorted(pools))
                raise ConfigError(f"concept.lists.{i}: no pool {name}.txt in {config.caption.examples}; known: {known}")
    return pools


def samples(captions: Iterable[Caption], config: CaptionConfig) -> Iterator[Sample]:
    """The captions as samples: the text, and where it comes from."""
    for one in captions:
        request = one.request
        # A caption must say something: where the model never did, the key itself is the caption, and flagged.
        text = one.text or prompt.key(request.concept, request.other)
        lineage = {
            "caption_id": request.index,
            "concept": request.concept,
            "other": request.other,
            "template": request.template,
            "pool": request.pool,
            "context_id": request.context,
            "draws": request.draws,
            "attempts": one.attempts,
            "flags": list(one.flags),
            "llm": {"engine": config.engine, "model": config.model, "temperature": config.temperature,
                    "top_p": config.top_p, "precision": config.precision, "seed": one.seed},
        }  # fmt: skip
        yield Sample(f"c{request.index:09}", {"txt": text.encode(), "json": json.dumps(lineage).encode()})


def count(captions: Sequence[Caption]) -> dict[str, Any]:
    """What the marker tells about a unit."""
    return {
        "captions": len(captions),
        "flagged": sum(bool(one.flags) for one in captions),
        "flags": dict(Counter(flag for one in captions for flag in one.flags)),
        "redrawn": sum(one.attempts > 1 for one in captions),
        "drawn": sum(one.attempts for one in captions),
        "distinct": len({one.text for one in captions}),
        "words": sum(len(one.text.split()) for one in captions),
    }


def summarise(storage: Storage, config: GenerateConfig, tracked: Run) -> None:
    """Prints and records what all captions together are like."""
    found = markers(storage, STAGE)
    total = {key: sum(one.statistics[key] for one in found.values()) for key in ("captions", "flagged", "redrawn")}
    texts = list(islice(_texts(storage, found), _SUMMARY))
    distinct = len(set(texts))
    print(
        f"captions: {total['captions']} in {len(found)} shards under {storage.root}/{STAGE}; "
        f"{total['redrawn']} drawn anew, {total['flagged']} flagged; of the first {len(texts)}, {distinct} are distinct"
    )
    tracked.log_metrics({"flagged_share": total["flagged"] / total["captions"],
                         "distinct_share": distinct / len(texts)}, step=len(found))  # fmt: skip
    summary = {"shards": len(found), "bytes": sum(one.bytes for one in found.values()), **total}
    tracked.log_dataset(STAGE, dataset_digest(found.values()), config.root, summary, context="generation")


def _texts(storage: Storage, found: Mapping[str, Marker]) -> Iterator[str]:
    for marker in found.values():
        for sample in read_samples(storage, marker, fields=("txt",)):
            yield sample.fields["txt"].decode()


def _refuse_nonsense(captions: Sequence[Caption], config: CaptionConfig, unit: str) -> None:
    """Stops before a shard of bad captions is committed and painted.

    Raises:
        DataError: more than `caption.max_flagged` of the unit are flagged.
    """
    flagged = [one for one in captions if one.flags]
    if len(flagged) > config.max_flagged * len(captions):
        worst = flagged[0]
        raise DataError(
            f"unit {unit}: {len(flagged)} of {len(captions)} captions are bad after {config.max_attempts} attempts, "
            f"such as caption {worst.request.index} for '{prompt.key(worst.request.concept, worst.request.other)}' "
            f"({', '.join(worst.flags)}): {worst.text[:80]!r}. Is {config.model} trained to follow the examples? "
            "Raise caption.max_attempts, or caption.max_flagged to accept this"
        )


def _metrics(statistics: Mapping[str, Any]) -> dict[str, float]:
    number = statistics["captions"]
    return {
        "flagged_share": statistics["flagged"] / number,
        "redrawn_share": statistics["redrawn"] / number,
        "words_mean": statistics["words"] / number,
        "captions_per_second": number / statistics["seconds"],
    }


def _inputs(config: GenerateConfig) -> dict[str, Path]:
    """Every file the captions depend on, by its name in the config. A model on the hub is known by name alone."""
    model = Path(files.locate_model(config.caption.model, "caption.model"))
    found = concepts.list_files(config.concept)
    found[config.caption.examples] = files.locate(config.caption.examples, "caption.examples")
    return found | ({config.caption.model: model} if model.exists() else {})


def main(config: GenerateConfig) -> None:
    """What the command runs."""
    with stoppable():
        caption(config)


if __name__ == "__main__":
    run(main, GenerateConfig, RECIPES)
