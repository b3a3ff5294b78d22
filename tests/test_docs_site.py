"""The site's pages and its picture are those of the project as it is now."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def test_the_picture_is_what_the_compiler_makes_now() -> None:
    spec = importlib.util.spec_from_file_location("picture", DOCS / "picture.py")
    assert spec is not None and spec.loader is not None
    picture: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(picture)
    made = {name: draw() for name, draw in picture.PICTURES.items()}
    for name, text in made.items():
        assert text == (DOCS / name).read_text(encoding="utf-8"), "python docs/picture.py"
    drawn = made["network.svg"]
    assert "×3" in made["drawing.svg"] and "1 core<" in made["drawing.svg"]
    chip = drawn.split("on the chip")[1]
    left = drawn.split("on the chip")[0]
    assert left.count("edge real") > 5 and chip.count("edge real") == 1  # the legend's
    assert "aap_add" in left and "aap_add" not in chip


def pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [p for item in (nav.values() if isinstance(nav, dict) else nav) for p in pages(item)]


def test_every_page_is_in_the_site_once() -> None:
    class Loader(yaml.SafeLoader):
        pass

    site = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)
    listed = pages(site["nav"])
    assert sorted(listed) == sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))
    assert site["strict"] is True and site["theme"]["font"] is False


@pytest.mark.parametrize("folder", ["passes", "rules"])
def test_the_reference_names_modules_that_exist_and_every_pass(folder: str) -> None:
    text = (DOCS / "reference-passes.md").read_text()
    named = set(re.findall(rf"^::: purespike\.compiler\.{folder}\.(\w+)$", text, re.MULTILINE))
    there = {p.stem for p in (ROOT / "compiler" / folder).iterdir() if p.name[0] not in "_."}
    assert named <= there
    if folder == "passes":
        assert named == there
