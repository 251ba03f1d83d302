"""The tar format: what is written is read back, by us, by tarfile, and by nobody if it is damaged."""

import hashlib
import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards.tar import END, Sample, TarError, decode_samples, encode_sample

NAMES = st.text("abcXYZ019_-", min_size=1, max_size=20)
FIELDS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
BODIES = st.dictionaries(FIELDS, st.binary(max_size=1500), min_size=1, max_size=5)


@st.composite
def sample_lists(draw: st.DrawFn, min_size: int = 0) -> list[Sample]:
    keys = draw(st.lists(NAMES, unique=True, min_size=min_size, max_size=6))
    return [Sample(key, draw(BODIES)) for key in keys]


def tar_of(samples: list[Sample]) -> bytes:
    return b"".join(encode_sample(sample) for sample in samples) + END


@settings(max_examples=30, deadline=None)
@given(sample_lists())
def test_samples_survive_the_round_trip(samples: list[Sample]) -> None:
    assert list(decode_samples(tar_of(samples))) == samples


@settings(max_examples=30, deadline=None)
@given(sample_lists())
def test_the_standard_library_reads_the_same_members(samples: list[Sample]) -> None:
    with tarfile.open(fileobj=io.BytesIO(tar_of(samples)), mode="r:") as tar:
        members = [(member.name, tar.extractfile(member).read(), member.mtime) for member in tar]
    expected = [(f"{one.key}.{field}", one.fields[field], 0) for one in samples for field in sorted(one.fields)]
    assert members == expected


@settings(max_examples=30, deadline=None)
@given(BODIES)
def test_the_bytes_do_not_depend_on_the_order_of_the_fields(fields: dict[str, bytes]) -> None:
    backwards = dict(reversed(fields.items()))
    assert encode_sample(Sample("k", fields)) == encode_sample(Sample("k", backwards))


def test_the_bytes_are_pinned() -> None:
    """A change of this digest is a change of every dataset's digest."""
    tar = tar_of([Sample("c000000000", {"txt": b"a red cube", "json": b"{}", "0.jpg": bytes(700)})])
    assert len(tar) == 3 * 512 + 2 * 512 + 1024 + 1024
    assert hashlib.sha256(tar).hexdigest() == "622eacdd92997f732b51976068d25442d316d678b2b3671eb79b8704dd3534bd"


@settings(max_examples=30, deadline=None)
@given(sample_lists(min_size=1), st.data())
def test_a_tar_cut_anywhere_gives_whole_samples_or_an_error(samples: list[Sample], data: st.DataObject) -> None:
    """The marker tells how many there must be, so whole samples are enough here; a cut one must never come out."""
    whole = tar_of(samples)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    members = {(one.key, field): body for one in samples for field, body in one.fields.items()}
    try:
        for one in decode_samples(cut):
            for field, body in one.fields.items():
                assert members[one.key, field] == body
    except TarError:
        pass


@pytest.mark.parametrize(
    ("key", "field", "message"),
    [
        ("a.b", "txt", "a dot would end it"),
        ("a/b", "txt", "sample key"),
        ("", "txt", "sample key"),
        ("k", ".txt", "field"),
        ("k", "0..jpg", "field"),
        ("k", "a/b", "field"),
        ("k" * 97, "txt", "longer than 100"),
        ("ké", "txt", "sample key"),
    ],
)
def test_a_name_that_would_not_survive_is_refused(key: str, field: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode_sample(Sample(key, {field: b""}))


def test_a_sample_without_fields_is_refused() -> None:
    with pytest.raises(ValueError, match="no fields"):
        encode_sample(Sample("k", {}))


def test_a_member_that_stands_twice_is_an_error() -> None:
    member = encode_sample(Sample("k", {"txt": b"1"}))
    with pytest.raises(TarError, match="twice"):
        list(decode_samples(member + member))


def test_a_damaged_header_says_where() -> None:
    tar = bytearray(tar_of([Sample("k", {"txt": b"1"}), Sample("l", {"txt": b"2"})]))
    tar[1024] ^= 1
    with pytest.raises(TarError, match="byte 1024 fails its checksum"):
        list(decode_samples(bytes(tar)))


def test_data_behind_the_end_is_an_error() -> None:
    with pytest.raises(TarError, match="more data behind it"):
        list(decode_samples(END + b"1".ljust(512)))
