"""What the documentation says is shown by a test, is: the test exists."""

import re
from functools import cache

import pytest

from tests.docs.commands import ROOT

PAGE = ROOT / "docs" / "objectives.md"
NAMED = sorted(set(re.findall(r"`(\S+\.py)::(\w+)`", PAGE.read_text())))


@cache
def functions_of(file: str) -> frozenset[str]:
    return frozenset(re.findall(r"^def (test_\w+)", (ROOT / "tests" / "trainer" / file).read_text(), re.MULTILINE))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_a_test_that_is_named_exists(file: str, name: str) -> None:
    assert name in functions_of(file)


def test_every_row_of_the_table_names_one() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.count("|") == 4 and "::" in line]
    table = PAGE.read_text().split("| elsewhere | here | shown by |")[1].split("\n\n")[0].splitlines()[2:]
    assert rows == table
    assert len(table) >= 22, "the pitfalls that were found"
