"""What the site does to the pages: links out of docs/, sessions in docstrings, notebooks.

Links out of docs/ lead to the file's text in the repository's words, not to a dead page: the pages
are read on disk and in a repository too, where ``../findings/x.sh`` is a file. The site holds docs/
only: there such a link becomes the path itself, set as code. Notebooks are run and become pages
beside their files; the converter is ours since mkdocs-jupyter adds nbconvert, jupytext and what
they depend on to the kernel that runs the notebooks. Search puts what explains before what
records, and screen readers and keys get what the theme leaves out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import markdown
from markdown.preprocessors import Preprocessor
from mkdocs.structure.files import File
from notebook_pages import page as notebook_page

ROOT = Path(__file__).resolve().parents[1]
_NOTEBOOK = re.compile(r"(\]\((?:[\w./-]+/)?[\w-]+)\.ipynb\)")
_CODE = re.compile(r"(<pre[^>]*>(?:<span></span>)?<code)(?=[ >])")
_DIALOG = '<div class="md-search" data-md-component="search" role="dialog"'
# Pages that explain come before those that record; 1 for all others.
_BOOST = {"semantics.md": 2, "targets.md": 2, "passes.md": 2, "errata.md": 0.5, "decisions": 0.5}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with links to files outside of docs/ as paths, and to the pages of notebooks."""
    if not page.file.src_uri.startswith("notebooks/"):  # whose page links to its file
        markdown = _NOTEBOOK.sub(r"\1.md)", markdown)
    name = page.file.src_uri
    boost = _BOOST.get(name, _BOOST.get(name.partition("/")[0]))
    if boost:
        page.meta["search"] = {"boost": boost}
    folder = (ROOT / "docs" / name).parent

    def path(match: re.Match[str]) -> str:
        target = (folder / match[2]).resolve()
        if (ROOT / "docs") in target.parents:
            return match[0]
        if not target.exists():
            raise FileNotFoundError(f"{page.file.src_uri} links to {match[2]}, which is not there")
        return f"{match[1]} (`{target.relative_to(ROOT)}`)"

    return _LINK.sub(path, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """The page with code that keys can scroll where no script runs; else docs/scroll.js decides."""
    return _CODE.sub(r'\1 tabindex="0"', html)


def on_post_page(output: str, **_: Any) -> str:
    """The page with a name for the search dialog, which the theme leaves nameless."""
    assert _DIALOG in output, "the theme's search dialog has changed: see docs/hooks.py"
    return output.replace(_DIALOG, f'{_DIALOG} aria-label="Search"')


def on_post_template(output_content: str, template_name: str, **_: Any) -> str:
    """The same for the one page that no file of docs/ makes."""
    return on_post_page(output_content) if template_name == "404.html" else output_content


class _Sessions(Preprocessor):
    """Doctests of docstrings as code: to Markdown they are quotes in quotes, run together."""

    def run(self, lines: list[str]) -> list[str]:
        """The lines with a fence round each session, which ends at an empty line."""
        out: list[str] = []
        inside = fenced = False
        for line in lines:
            fenced ^= line.startswith("```")
            if not inside and not fenced and line.startswith(">>> "):
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


def on_files(files: Any, config: Any) -> Any:
    """The files with a page beside each notebook."""
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        name = f"notebooks/{path.stem}.md"
        files.append(File.generated(config, name, content=notebook_page(path)))
    return files
