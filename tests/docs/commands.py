"""The commands that the documentation shows, and what it says about each block of them.

A fenced block marked `bash` or `python` is a promise: a test runs it, from a checkout with its environment active.
Directly above it may stand

    <!-- not run: it takes two hours -->           its commands are checked, not run
    <!-- run by: tests/integration/test_x.py -->   that test runs them
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_BLOCK: Final = re.compile(
    r"(?:<!-- (?P<how>not run|run by): (?P<what>[^>]+?) -->\n)?^```(?P<language>bash|python)\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block. `how` is empty, "not run" or "run by"; `what` is the reason or the test."""

    page: str
    line: int
    language: str
    code: str
    how: str
    what: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[str]:
        """The command lines, without comments, with continued lines joined."""
        joined = self.code.replace("\\\n", " ")
        stripped = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
        return [line for line in stripped if line]


def pages() -> list[Path]:
    """All documentation."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of a page."""
    text = page.read_text()
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("language")) + 1
        how, what = found["how"] or "", found["what"] or ""
        yield Block(str(page.relative_to(ROOT)), line, found["language"], found["code"], how, what)


ALL: Final = [block for page in pages() for block in blocks(page)]
