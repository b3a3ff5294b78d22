"""Links out of docs/ lead to the file's text in the repository's words, not to a dead page.

The pages are read on disk and in a repository too, where ``../findings/x.sh`` is a file. The site
holds docs/ only: there such a link becomes the path itself, set as code.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import markdown
from markdown.preprocessors import Preprocessor

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with links to files outside of docs/ as paths."""
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def path(match: re.Match[str]) -> str:
        target = (folder / match[2]).resolve()
        if (ROOT / "docs") in target.parents:
            return match[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.file.src_uri} links to {match[2]}, which is not there")
        return f"{match[1]} (`{target.relative_to(ROOT)}`)"

    return _LINK.sub(path, markdown)


class _Sessions(Preprocessor):
    """Doctests as code: to Markdown they are quotes in quotes, run together."""

    def run(self, lines: list[str]) -> list[str]:
        """The lines with a fence round each session, which ends at an empty line."""
        out: list[str] = []
        inside = False
        for line in lines:
            if not inside and line.startswith(">>> "):
                out += ["", "```pycon"]
                inside = True
            if inside and not line.strip():
                out.append("```")
                inside = False
            out.append(line)
        return [*out, "```"] if inside else out


class _Extension(markdown.Extension):
    def extendMarkdown(self, md: Any) -> None:
        """Before fences are read."""
        md.preprocessors.register(_Sessions(md), "sessions", 40)


def on_config(config: Any) -> Any:
    """The site with sessions as code, in docstrings too."""
    config.markdown_extensions.append(_Extension())
    return config
