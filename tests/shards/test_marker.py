"""The commit marker: exact, checked when made and when read, and the one truth about a stage."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from config import DataError
from shards import Marker, Storage, committed, dataset_digest, markers, read_marker, total_units
from shards.marker import encode_marker
from tests.shards.scenes import commit_images

GOOD: dict[str, Any] = {
    "stage": "images",
    "unit": "000003",
    "units": 10,
    "object": "000003-g0-ab.tar",
    "sha256": "0" * 64,
    "bytes": 4096,
    "samples": 2,
    "keys": ("a", "b"),
    "offsets": ((0, 1024), (1024, 2560)),
    "checksums": ("0" * 16, "1" * 16),
    "statistics": {"seconds": 1.5, "refused": {"short": 2}},
    "config": {"seed": 7, "models": ["captioner"]},
}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9).map(lambda blocks: blocks * 512), max_size=20), st.floats(allow_nan=False))
def test_a_marker_survives_its_encoding(sizes: list[int], number: float) -> None:
    ends = [sum(sizes[: index + 1]) for index in range(len(sizes))]
    marker = Marker(
        **GOOD
        | {
            "samples": len(sizes),
            "bytes": sum(sizes) + 1024,
            "keys": tuple(f"c{index}" for index in range(len(sizes))),
            "offsets": tuple(zip([0, *ends], ends, strict=False)),
            "checksums": tuple(f"{index:016x}" for index in range(len(sizes))),
            "statistics": {"number": number},
        }
    )
    assert Marker.model_validate_json(encode_marker(marker)) == marker


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("unit", "3", "unit must be at least six digits, got '3'"),
        ("units", 3, "units must be above the unit 000003, got 3"),
        ("samples", 3, "must each have 3 entries"),
        ("offsets", ((0, 1024), (1536, 2560)), "offsets must follow each other"),
        ("bytes", 2000, "stay within 2000 bytes"),
        ("bytes", "4096", "bytes"),
    ],
)
def test_a_marker_that_contradicts_itself_cannot_be_made(field: str, value: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Marker(**GOOD | {field: value})


def test_a_committed_unit_has_a_marker_and_others_have_none(local: Storage) -> None:
    marker = commit_images(local, "000002")
    assert read_marker(local, "images", "000002") == marker
    assert committed(local, "images") == {"000002"}
    with pytest.raises(FileNotFoundError):
        read_marker(local, "images", "000001")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (b"", "the file: Invalid JSON"),
        (b'{"stage": "images"', "the file: Invalid JSON"),
        (b'{"stage": "images"}', "unit: Field required"),
    ],
)
def test_a_damaged_marker_names_the_file_the_field_and_the_remedy(local: Storage, damage: bytes, message: str) -> None:
    commit_images(local)
    local.replace("images/000000.json", damage)
    with pytest.raises(DataError, match=rf"images/000000.json is not a commit marker: {message}.*Delete it to have"):
        markers(local, "images")


def test_a_marker_under_another_name_is_refused(local: Storage) -> None:
    commit_images(local)
    local.create("images/000001.json", local.read("images/000000.json"))
    with pytest.raises(DataError, match=r"000001.json is the marker of images/000000.json"):
        markers(local, "images")


def test_markers_come_in_order_and_are_read_once(local: Storage) -> None:
    commit_images(local, "000002")
    first = markers(local, "images")
    commit_images(local, "000001", count=2)
    both = markers(local, "images", known=first)
    assert list(both) == ["000001", "000002"]
    assert both["000002"] is first["000002"]
    local.delete("images/000002.json")  # to have it made again
    assert list(markers(local, "images", known=both)) == ["000001"]


def test_the_total_is_what_all_markers_say(local: Storage) -> None:
    assert total_units({}) is None
    commit_images(local, "000000", units=3)
    assert total_units(markers(local, "images")) == 3
    commit_images(local, "000001", units=4)
    with pytest.raises(DataError, match=r"000000.json says the stage has 3 units, .*000001.json says 4"):
        total_units(markers(local, "images"))


def test_the_digest_is_of_the_content_alone(tmp_path: object) -> None:
    """Two runs that made the same samples have the same digest, whoever made them and in whatever order."""
    one, other = Storage("memory://digest-one"), Storage("memory://digest-other")
    ours = [commit_images(one, unit, attempt="a1", seed=int(unit)) for unit in ("000000", "000001")]
    theirs = [commit_images(other, unit, attempt="b7", seed=int(unit)) for unit in ("000001", "000000")]
    assert dataset_digest(ours) == dataset_digest(theirs)
    assert dataset_digest(ours[:1]) != dataset_digest(ours)
    assert dataset_digest([ours[0], commit_images(Storage("memory://third"), "000001", seed=9)]) != dataset_digest(ours)


def test_a_marker_is_plain_json(local: Storage) -> None:
    """Other tools read it too: pinned names, sorted."""
    commit_images(local)
    stored = json.loads(local.read("images/000000.json"))
    assert list(stored) == sorted(GOOD)
    assert stored["statistics"] == {"made": 12}
