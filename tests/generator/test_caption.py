"""The stage around the language model: with engines written out here, and once with a real (random) one."""

import json
from collections.abc import Callable, Mapping, Sequence

import pytest

from config import ConfigError, DataError
from generator import concepts
from generator.caption import caption, count, load_pools, samples, write
from generator.config import GenerateConfig
from shards import Storage, committed, markers, read_samples

Small = Callable[..., GenerateConfig]


class Echo:
    """An engine that follows the prompt after `failures` attempts that say nothing of use."""

    versions: Mapping[str, str] = {}

    def __init__(self, failures: Callable[[str], int] = lambda key: 0) -> None:
        self.failures = failures
        self.calls: list[list[tuple[str, int]]] = []
        self.asked: dict[str, int] = {}

    def complete(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        self.calls.append(list(zip(prompts, seeds, strict=True)))
        return [self._one(prompt.rsplit("\n", 1)[1].removesuffix(" =>")) for prompt in prompts]

    def _one(self, key: str) -> str:
        self.asked[key] = self.asked.get(key, 0) + 1
        return f" a picture of {key}\nnext" if self.asked[key] > self.failures(key) else " what do I know\n"


def written(config: GenerateConfig, engine: Echo, number: int = 12):
    source = concepts.load(config.concept, contexts=config.caption.contexts, seed=0)
    requests = [source.request(i) for i in range(number)]
    return write(engine, requests, load_pools(config, source), config.caption)


def test_a_good_caption_is_asked_for_once(small: Small) -> None:
    engine = Echo()
    captions = written(small(), engine)
    assert [len(call) for call in engine.calls] == [12]
    assert all(one.text.startswith("a picture of") and not one.flags for one in captions)


def test_a_bad_caption_is_drawn_anew_with_other_dice(small: Small) -> None:
    engine = Echo(failures=lambda key: 2 if "star" in key else 0)
    captions = written(small(caption__max_attempts=4), engine, 30)
    bad = [one for one in captions if "star" in one.request.concept]
    assert len(engine.calls[0]) == 30
    assert all(one.flags == () for one in captions)
    assert max(one.attempts for one in bad) > 1
    seeds = [seed for call in engine.calls for _, seed in call]
    assert len(set(seeds)) == len(seeds)


def test_after_the_last_attempt_a_caption_is_kept_flagged_and_counted(small: Small) -> None:
    captions = written(small(caption__max_attempts=3), Echo(failures=lambda key: 99))
    statistics = count(captions)
    assert {one.attempts for one in captions} == {3}
    assert statistics["flagged"] == statistics["redrawn"] == 12
    assert statistics["flags"]["no concept named"] == 12
    assert statistics["drawn"] == 36
    assert statistics["distinct"] == 1


def test_twins_of_a_group_throw_the_same_dice(small: Small) -> None:
    engine = Echo()
    written(small(concept__group=6), engine, 12)
    seeds = [seed for _, seed in engine.calls[0]]
    assert len(set(seeds[:6])) == len(set(seeds[6:])) == 1
    assert seeds[0] != seeds[6]


def test_a_sample_tells_where_its_caption_comes_from(small: Small) -> None:
    config = small()
    captions = written(config, Echo())
    sample = list(samples(captions, config.caption))[7]
    lineage = json.loads(sample.fields["json"])
    assert sample.key == "c000000007"
    assert sample.fields["txt"].decode() == captions[7].text
    assert lineage["concept"] == captions[7].request.concept
    assert lineage["llm"]["seed"] == captions[7].seed
    assert lineage["flags"] == []


def test_a_caption_that_stayed_empty_says_its_key(small: Small) -> None:
    config = small()
    captions = written(config, Echo())
    captions[0].text, captions[0].flags = "", ("too short",)
    sample = next(samples(captions, config.caption))
    assert sample.fields["txt"].decode().startswith(captions[0].request.concept)


def test_the_stage_commits_every_caption_once(small: Small) -> None:
    config = small()
    caption(config)
    storage = Storage(config.root)
    found = markers(storage, "captions")
    assert list(found) == ["000000", "000001", "000002"]
    assert [key for one in found.values() for key in one.keys] == [f"c{i:09}" for i in range(10)]
    texts = [s.fields["txt"] for one in found.values() for s in read_samples(storage, one)]
    assert len(texts) == 10
    assert storage.list("leases/captions") == []
    assert found["000000"].config["settings"]["caption.temperature"] == 0.8
    assert set(found["000000"].config["versions"]) == {"torch", "transformers"}


def test_a_finished_stage_loads_no_model_and_changes_nothing(small: Small) -> None:
    config = small()
    caption(config)
    before = {unit: one.sha256 for unit, one in markers(Storage(config.root), "captions").items()}
    caption(config)
    assert {unit: one.sha256 for unit, one in markers(Storage(config.root), "captions").items()} == before


def test_the_same_captions_come_from_another_root_and_worker(small: Small) -> None:
    digests = []
    for root in ("memory://one", "memory://two"):
        config = small(root=root)
        caption(config)
        digests.append([one.sha256 for one in markers(Storage(root), "captions").values()])
    assert digests[0] == digests[1]


def test_other_settings_under_the_same_root_are_refused(small: Small) -> None:
    caption(small())
    message = r"caption\.temperature is 0\.8 there, 0\.5 now\. Go on with those settings, or take another root"
    with pytest.raises(ConfigError, match=message):
        caption(small(caption__temperature=0.5))


def test_captions_that_name_nothing_stop_the_stage_before_they_are_committed(small: Small) -> None:
    config = small(caption__max_flagged=0.1)
    with pytest.raises(DataError, match=r"unit 000000: . of 4 captions are bad after 2 attempts, such as caption"):
        caption(config)
    assert not committed(Storage(config.root), "captions")


def test_a_model_that_is_not_there_is_named(small: Small) -> None:
    with pytest.raises(ConfigError, match=r"caption\.model: there is no file or folder /nowhere/llama"):
        caption(small(caption__model="/nowhere/llama"))


def test_a_folder_that_holds_no_model_is_named(small: Small, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"caption\.model: .*empty cannot be loaded as a causal language model"):
        caption(small(caption__model=tmp_path / "empty"))


def test_a_pool_that_a_list_needs_is_named(small: Small, tmp_path) -> None:
    lines = "".join(f"star {i} => a star {i}\n" for i in range(3))
    (tmp_path / "object.txt").write_text(lines)
    with pytest.raises(ConfigError, match=r"concept\.lists\.0: no pool background\.txt in .*; known: object"):
        caption(small(caption__examples=tmp_path))


def test_an_unknown_engine_is_answered_with_the_known_ones(small: Small) -> None:
    with pytest.raises(ConfigError, match=r"caption\.engine: Input should be 'transformers' or 'vllm', got \"llama\""):
        small(caption__engine="llama")


def test_a_root_that_cannot_be_is_refused(small: Small) -> None:
    with pytest.raises(ConfigError, match="'ftp'"):
        caption(small(root="ftp://host/run"))
