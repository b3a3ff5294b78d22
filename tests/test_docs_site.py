"""The site's pages and its picture are those of the project as it is now."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from helpers.page_cases import AXE, browser, rendered
from test_api import ERRORS, RESULTS, SURFACE

from purespike import nn
from purespike.cli.commands.export import To
from purespike.compiler.pipeline.standard import standard_pipeline
from purespike.targets.fidelity.table import COLUMNS

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
    chip = drawn.split(">on the chip<")[1]
    left = drawn.split(">on the chip<")[0]
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
    written = [p.relative_to(DOCS) for p in DOCS.rglob("*.md")]
    run = [p.relative_to(DOCS).with_suffix(".md") for p in DOCS.rglob("*.ipynb")]
    assert sorted(listed) == sorted(p.as_posix() for p in (*written, *run))
    assert site["strict"] is True and site["theme"]["font"] is False


@pytest.mark.parametrize("folder", ["passes", "rules"])
def test_the_reference_names_modules_that_exist_and_every_pass(folder: str) -> None:
    text = (DOCS / "reference-passes.md").read_text()
    named = set(re.findall(rf"^::: purespike\.compiler\.{folder}\.(\w+)$", text, re.MULTILINE))
    there = {p.stem for p in (ROOT / "compiler" / folder).iterdir() if p.name[0] not in "_."}
    assert named <= there
    if folder == "passes":
        assert named == there


def test_every_public_name_is_in_the_reference() -> None:
    text = (DOCS / "reference.md").read_text()
    named = set(re.findall(r"^::: purespike\.(?:\w+\.)*(\w+)$", text, re.MULTILINE))
    listed = re.search(r"members: \[(.*)\]", text)
    assert listed is not None
    there = named | set(listed[1].split(", "))
    assert set(SURFACE) | {r.__name__ for r in RESULTS} <= there
    assert "errors" in named  # the module, all of whose classes it shows
    module = importlib.import_module("purespike.compiler.errors")
    assert set(vars(module)) >= ERRORS
    blocks = (DOCS / "reference-nn.md").read_text()
    assert re.findall(r"^        - (\w+)$", blocks, re.MULTILINE) == nn.__all__


def test_every_pass_and_every_target_stands_in_its_page() -> None:
    passes = (DOCS / "passes.md").read_text()
    table = re.findall(r"^\| `(\w+)` \|", passes, re.MULTILINE)
    pipelines = [standard_pipeline(quantized=q) for q in (False, True)]
    known = {p.name for line in pipelines for p in (*line.network, *line.chip)}
    assert set(table) == known and len(table) == len(known)
    targets = (DOCS / "targets.md").read_text()
    head = "| a network may hold | " + " | ".join(COLUMNS.values()) + " |"
    assert head in targets
    for choice in get_args(To):
        assert re.search(rf"--to {choice}\b(?!-)", targets), choice


def test_only_sessions_outside_of_fences_are_fenced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fence in a fence ends it: the rest of docs/api.md was one block of code."""
    pytest.importorskip("mkdocs")
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])
    sessions = importlib.import_module("hooks")._Sessions()
    api = (DOCS / "api.md").read_text().splitlines()
    assert any(line.startswith(">>> ") for line in api)
    assert sessions.run(api)[: len(api)] == api
    bare = ["Text:", "", ">>> 1 + 1", "2", "", "More."]
    fenced = ["Text:", "", "", "```pycon", ">>> 1 + 1", "2", "```", "", "More."]
    assert sessions.run(bare) == fenced


SITE = ROOT / "site"
QUERIES = {  # what newcomers type: pages of which one is among the first three found
    "PS005": "rules/PS005.html",
    "threshold": "semantics.html",
    "reset": "semantics.html inputs.html",
    "nir": "inputs.html targets.html",
    "loihi": "targets.html lava.html",
    "quantize bits": "tutorials/bits.html",
    "lava timing": "lava.html",
    "golden vectors": "tutorials.html",
    "c program": "targets.html",
    "PLIF": "reference-nn.html",
    "strip_auxiliary": "passes.html",
}
ASK = """
  const frame = document.createElement('iframe');
  document.body.append(frame);
  const links = () => frame.contentDocument?.querySelectorAll('.md-search-result__item > a') ?? [];
  const shown = (done) => links().length ? done() : setTimeout(shown, 50, done);
  const pages = [...Array(QUERIES.length).keys()].map(() => []);
  const ask = (k) => k === QUERIES.length ? pages : new Promise((done) => {
    frame.onload = () => shown(done);
    frame.src = `SITE/index.html?q=${encodeURIComponent(QUERIES[k])}`;
  }).then(() => {
    pages[k] = [...new Set([...links()].map(a => a.href.replace(/[?#].*/, '')))].slice(0, 3);
    return ask(k + 1);
  });
  return ask(0);
"""


@browser
@pytest.mark.skipif(not (SITE / "search" / "search_index.js").is_file(), reason="make docs first")
def test_search_knows_every_page_and_finds_what_newcomers_look_for(tmp_path: Path) -> None:
    """From the disk, without a server: browsers let no worker run there."""
    index = json.loads((SITE / "search" / "search_index.json").read_text())
    built = {p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html")} - {"404.html"}
    assert {d["location"].partition("#")[0] for d in index["docs"]} == built
    probe = ASK.replace("QUERIES", json.dumps(list(QUERIES))).replace("SITE", SITE.as_uri())
    flags = ("--allow-file-access-from-files", "--virtual-time-budget=60000")
    found = rendered("<!doctype html><body></body>", tmp_path, probe, *flags)
    for (query, right), three in zip(QUERIES.items(), found, strict=True):
        names = [address.removeprefix(f"{SITE.as_uri()}/") for address in three]
        assert set(names) & set(right.split()), (query, names)


@browser
def test_keys_reach_what_scrolls_and_nothing_else(tmp_path: Path) -> None:
    """Whatever the theme thinks of it: it asks for a mouse, and knows no tables."""
    script = (DOCS / "scroll.js").read_text(encoding="utf-8")
    code = "<pre><code style='overflow: auto; display: block; width: 9em'>{}</code></pre>"
    page = f"""<!doctype html><meta http-equiv="Content-Security-Policy" content="script-src x">
    <body><div class="md-content md-typeset"><h2>A head<a>¶</a></h2>{code.format("x" * 99)}
    {code.format("x")}<div class="md-typeset__scrollwrap" style="overflow: auto; width: 9em">
    <div style="width: 99em">wide</div></div></div></body>"""
    probe = """
      const [wide, narrow] = document.querySelectorAll('code');
      const said = (e) => ['tabindex', 'role', 'aria-label'].map(n => e.getAttribute(n));
      wide.removeAttribute('tabindex'); narrow.setAttribute('tabindex', '0');
      return new Promise(done => setTimeout(done, 100)).then(() => [
        said(wide), said(narrow), said(document.querySelector('.md-typeset__scrollwrap'))]);
    """
    found = rendered(page, tmp_path, probe, "--virtual-time-budget=5000", library=script)
    assert found == [
        ["0", "group", "Code: A head"], [None, None, None], ["0", "group", "Table: A head"],
    ]  # fmt: skip


KINDS = (  # a page of every kind, with what only some have: tables, code, notebooks, docstrings
    "index.html", "404.html", "training.html", "results.html", "notebooks/gradients.html",
    "tutorials/your-own-network.html", "rules/PS014.html", "report.html", "reference.html",
)  # fmt: skip
AUDIT = """
  const frame = document.createElement('iframe');
  frame.style = 'width: WIDEpx; height: 900px; border: 0';
  document.body.append(frame);
  const found = {};
  const audit = (k) => k === PAGES.length ? found : new Promise((done) => {
    frame.onload = () => setTimeout(done, 500);
    frame.src = `SITE/${PAGES[k]}`;
  }).then(() => {
    const inside = frame.contentWindow;
    // 404.html names its files from the top of a server: from the disk it has no style.
    inside.eval(document.scripts[0].text);  // axe itself, in there
    const rules = PAGES[k] === '404.html' ? {label: {enabled: false}} : {};
    return inside.axe.run({resultTypes: ['violations'], rules});
  }).then((r) => {
    found[PAGES[k]] = r.violations.filter(v => ['serious', 'critical'].includes(v.impact)).map(
      v => [v.id, ...v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))]);
    return audit(k + 1);
  });
  return audit(0).catch(String);
"""


@browser
@pytest.mark.slow
@pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core (npm install axe-core, or AXE_CORE)")
@pytest.mark.skipif(not (SITE / "scroll.js").is_file(), reason="make docs first")
@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)])
def test_axe_finds_nothing_serious_on_any_kind_of_page(
    width: int, dark: bool, tmp_path: Path
) -> None:
    probe = AUDIT.replace("PAGES", json.dumps(KINDS)).replace("SITE", SITE.as_uri())
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    flags = ("--allow-file-access-from-files", "--virtual-time-budget=120000", scheme)
    found = rendered(
        "<!doctype html><body></body>", tmp_path, probe.replace("WIDE", str(width)), *flags,
        library=AXE.read_text(encoding="utf-8"),
    )  # fmt: skip
    assert found == {page: [] for page in KINDS}
