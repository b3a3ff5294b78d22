"""The code blocks of README and docs, and where each of them runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Block:
    """One fenced block: its page, language, number of that language, text and title."""

    page: str
    language: str
    number: int
    text: str
    title: str = ""  # the file that a reader puts it into

    def __str__(self) -> str:
        return f"{self.page}:{self.language}:{self.number}"


def blocks(page: str, language: str | None = None) -> list[Block]:
    """The blocks of a page (a path below the project), in order."""
    counts: dict[str, int] = {}
    found = []
    text = (ROOT / page).read_text(encoding="utf-8")
    fenced = r'^```(\w*)(?: title="([^"]*)")?\n(.*?)^```'
    for kind, title, body in re.findall(fenced, text, re.DOTALL | re.MULTILINE):
        found.append(Block(page, kind, counts.setdefault(kind, 0), body, title))
        counts[kind] += 1
    return [b for b in found if language in (None, b.language)]


def pages() -> list[str]:
    """README and every page of the site."""
    docs = sorted((ROOT / "docs").rglob("*.md"))
    return ["README.md", *(p.relative_to(ROOT).as_posix() for p in docs)]


# Output and text that is shown, not run.
SHOWN = ("", "text")

# Blocks that another test runs: page -> (languages, the test).
ELSEWHERE = {
    "README.md": ("python", "tests/test_api.py::test_the_python_lines_of_the_readme_run"),
    "docs/api.md": ("python", "tests/test_api.py::test_the_page_runs"),
    "docs/ci.md": ("yaml", "tests/test_rule_pages.py::test_the_ci_examples_are_yaml"),
    "docs/tutorials.md": ("console", "tests/test_tutorials.py::test_the_commands_run_as_they"),
}
