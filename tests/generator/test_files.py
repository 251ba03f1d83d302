from pathlib import Path

import pytest

from config import ConfigError
from generator import files


def test_a_package_s_file_has_the_same_name_on_every_machine() -> None:
    assert files.locate("package://generator/lists/relations.txt", "x").read_text().startswith("#")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "package://nowhere/list.txt",
            r"field: there is no installed package 'nowhere' \(package://nowhere/list.txt\)",
        ),
        ("package://generator/none.txt", r"field: there is no file or folder .*generator/none.txt \(package://"),
        ("package://../etc/passwd", r"field: there is no installed package '\.\.'"),
        ("/nowhere/list.txt", r"field: there is no file or folder /nowhere/list.txt$"),
    ],
)
def test_what_is_not_there_is_named_with_its_field(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        files.locate(name, "field")


def test_a_hub_name_stays_as_it_is() -> None:
    assert files.locate_model("owner/some-model.v1", "caption.model") == "owner/some-model.v1"


def test_a_missing_model_folder_is_no_hub_name() -> None:
    with pytest.raises(ConfigError, match=r"caption\.model: there is no file or folder /models/llama"):
        files.locate_model("/models/llama", "caption.model")


def test_a_digest_follows_names_and_content(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a")
    first = files.digest(tmp_path)
    assert files.digest(tmp_path) == first
    (tmp_path / "one.txt").write_text("b")
    changed = files.digest(tmp_path)
    (tmp_path / "one.txt").rename(tmp_path / "two.txt")
    assert len({first, changed, files.digest(tmp_path)}) == 3


def test_the_digest_of_a_large_file_reads_its_ends(tmp_path: Path) -> None:
    with (tmp_path / "weights").open("wb") as file:
        file.truncate(65 << 20)
        first = files.digest(tmp_path)
        file.seek(-1, 2)
        file.write(b"x")
    assert files.digest(tmp_path) != first


def test_a_list_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ConfigError, match=r"field: .*list\.txt cannot be read"):
        files.lines(tmp_path / "list.txt", "field")
