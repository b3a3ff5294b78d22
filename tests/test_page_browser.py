"""report.html in a real browser: what scripts, styles, keys and screen readers make of it."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.page_cases import (
    AXE,
    CHROMIUM,
    browser,
    dense_spikes,
    large,
    refused_text,
    rendered,
    whole_case,
)
from helpers.report_cases import page_of

pytestmark = browser


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(*whole_case())


def test_the_script_runs_under_the_pages_policy_and_a_link_unfolds_its_finding(
    page: str, tmp_path: Path
) -> None:
    """And everything about a layer lights up with it, wherever the pointer or the focus is."""
    probe = """
      const row = document.getElementById('f0');
      const found = {visible: row.getBoundingClientRect().height > 0,
                     open: row.closest('details').open};
      const box = document.querySelector('svg.network a[data-l="3"]');
      const lit = () => [...document.querySelectorAll('.lit')];
      box.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));
      found.all = lit().length === document.querySelectorAll('[data-l~="3"]').length;
      found.rows = lit().filter(e => e.tagName === 'TR').length;
      found.strip = document.getElementById('strip').textContent;
      document.body.dispatchEvent(new PointerEvent('pointerover', {bubbles: true}));
      found.none = lit().length;
      document.querySelector('tr[data-l="3"] a').focus();
      found.back = box.classList.contains('lit');
      return found;
    """
    found = rendered(page, tmp_path, probe, anchor="#f0")
    name = whole_case()[0]["network"]["nodes"][2]["name"]
    assert found.pop("strip").startswith(f"{name}: ") and found.pop("rows") > 5
    assert found == {"visible": True, "open": True, "all": True, "none": 0, "back": True}


def test_parts_fold_and_the_drawing_zooms_by_button_wheel_and_key(
    page: str, tmp_path: Path
) -> None:
    probe = """
      const part = document.querySelector('.part:not([data-size="1"])');
      const svg = document.querySelector('svg.network');
      const high = () => svg.getBoundingClientRect().height;
      const seen = (e) => e.getBoundingClientRect().height > 0;
      const key = (e, k) => e.dispatchEvent(new KeyboardEvent('keydown', {key: k, bubbles: true}));
      const begin = high();
      key(part.querySelector('.handle'), 'Enter');
      const folded = high();
      const focus = document.activeElement === part.querySelector('.folded');
      const hidden = !seen(part.querySelector('.whole a'));
      key(document.activeElement, ' ');
      const again = high();
      document.getElementById('zoom-in').click(); const bigger = high();
      key(document.getElementById('drawing'), '-'); const back = high();
      const wheel = {deltaY: -100, ctrlKey: true, bubbles: true, cancelable: true};
      document.getElementById('drawing').dispatchEvent(new WheelEvent('wheel', wheel));
      return {less: folded < begin, focus, hidden, same: Math.abs(again - begin) < 1,
              zoom: Math.round(100 * bigger / begin), back: Math.abs(back - begin) < 1,
              wheel: high() > back};
    """
    assert rendered(page, tmp_path, probe, "--window-size=1200,900") == {
        "less": True, "focus": True, "hidden": True, "same": True, "zoom": 125, "back": True,
        "wheel": True,
    }  # fmt: skip


def test_the_traces_drawn_are_those_of_the_golden_samples(page: str, tmp_path: Path) -> None:
    data, trace = whole_case()
    name = next(n for n in trace.values if trace.values[n][:, 1].any())
    k = [e["name"] for e in (*data["network"]["inputs"], *data["network"]["nodes"])].index(name)
    probe = f"""
      const pick = (id, at) => {{ const e = document.getElementById(id); e.selectedIndex = at;
        e.dispatchEvent(new Event('change')); }};
      pick('layer', {k}); pick('sample', 1); pick('neuron', 5);
      const rows = [...document.querySelectorAll('#numbers tbody tr')];
      return {{
        neuron: Number(document.getElementById('neuron').selectedOptions[0].text),
        rows: rows.map(r => [...r.cells].slice(1).map(c => Number(c.textContent))),
        card: document.querySelector('[data-card]:not([hidden]) h3').textContent,
        spikes: document.querySelector('#spikes .spikes').getAttribute('d').split('M').length - 1,
        points: document.querySelectorAll('#membrane circle').length,
      }};
    """
    found = rendered(page, tmp_path, probe)
    assert found["card"] == name and found["points"] == len(trace.values[name])
    flat = {
        kind: a[name][:, 1].reshape(len(a[name]), -1)
        for kind, a in (("m", trace.membranes), ("s", trace.values))
    }
    own = [[m / 64, s] for m, s in zip(*(flat[x][:, found["neuron"]] for x in "ms"), strict=True)]
    assert found["rows"] == own
    kept = np.unique(np.linspace(0, flat["s"].shape[1] - 1, 64).round().astype(int))
    assert found["spikes"] == flat["s"][:, kept[: flat["s"].shape[1]]].sum()


def test_a_layer_opens_at_a_neuron_that_tells_something_with_its_own_threshold(
    tmp_path: Path,
) -> None:
    """One that fires, of those the one whose membrane takes most values and goes farthest."""
    data, trace = whole_case()
    node = next(
        n for n in data["network"]["nodes"]
        if n["name"] in trace.values and len(n["shape"]) == 3 and trace.values[n["name"]].any()
    )  # fmt: skip
    channels, *image = node["shape"]
    node["threshold_of"] = [10.0 * (k + 1) for k in range(channels)]
    node["threshold_shape"] = [channels, 1, 1]
    node["thresholds"] = [10.0, 10.0 * channels]
    k = [e["name"] for e in (*data["network"]["inputs"], *data["network"]["nodes"])].index(
        node["name"]
    )
    probe = f"""
      const layer = document.getElementById('layer');
      layer.selectedIndex = {k}; layer.dispatchEvent(new Event('change'));
      return {{
        neuron: Number(document.getElementById('neuron').selectedOptions[0].text),
        words: document.querySelector('#membrane figcaption').textContent,
        dashed: document.querySelectorAll('#membrane .threshold').length,
      }};
    """
    found = rendered(page_of(data, trace), tmp_path, probe)
    flat = {
        kind: a[node["name"]][:, 0].reshape(len(a[node["name"]]), -1)
        for kind, a in (("m", trace.membranes), ("s", trace.values))
    }
    size = flat["s"].shape[1]
    kept = sorted({round(float(x)) for x in np.linspace(0, size - 1, min(64, size))})
    says = {
        n: (flat["s"][:, n].any(), len(set(flat["m"][:, n])), np.ptp(flat["m"][:, n])) for n in kept
    }
    assert says[found["neuron"]] == max(says.values()) and says[found["neuron"]][0]
    own = 10 * (found["neuron"] // (image[0] * image[1]) + 1)
    assert f"dashed: its threshold {own};" in found["words"] and found["dashed"] == 1


def test_paper_gets_what_the_screen_folds(page: str, tmp_path: Path) -> None:
    probe = """
      const open = () => document.querySelectorAll('details[open]').length;
      const all = document.querySelectorAll('details').length;
      const before = open(); dispatchEvent(new Event('beforeprint'));
      const printed = open(); dispatchEvent(new Event('afterprint'));
      return {before, all: printed === all && all > 10, after: open()};
    """
    assert rendered(page, tmp_path, probe) == {"before": 0, "all": True, "after": 0}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext (poppler-utils)")
def test_the_pdf_holds_the_verdict_the_answers_and_every_table(page: str, tmp_path: Path) -> None:
    source, pdf = tmp_path / "page.html", tmp_path / "page.pdf"
    source.write_text(page)
    subprocess.run(
        [
            str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={pdf}", source.as_uri(),
        ],
        check=True, capture_output=True, timeout=200,
    )  # fmt: skip
    text = subprocess.run(
        ["pdftotext", "-layout", str(pdf), "-"], check=True, capture_output=True, text=True
    ).stdout
    assert "What a reviewer asks" in text and "PS014" in text and "Zoom" not in text
    assert text.index("NOT PROVED") < text.index("What a reviewer asks") < text.index("Network")
    assert text.count("\f") < 25


@pytest.mark.parametrize("width", [500, 1200])  # headless windows are 500 px wide at least
def test_nothing_is_wider_than_the_window(page: str, width: int, tmp_path: Path) -> None:
    probe = """
      document.querySelectorAll('section').forEach(s => { s.style.contentVisibility = 'visible'; });
      return {page: document.documentElement.scrollWidth, window: innerWidth};
    """
    found = rendered(page, tmp_path, probe, f"--window-size={width},900")
    assert found["page"] <= found["window"] == width


def test_nothing_is_wider_than_the_paper(page: str, tmp_path: Path) -> None:
    """Or a browser makes all of it smaller: letters of 8 points were printed with 6."""
    probe = """
      const all = [...document.styleSheets[0].cssRules];
      const printed = all.filter(r => r.media?.mediaText === 'print');
      const style = document.createElement('style');
      const rules = printed.flatMap(r => [...r.cssRules].map(x => x.cssText));
      style.textContent = rules.join(' ');
      document.head.append(style);
      dispatchEvent(new Event('beforeprint'));
      return {rules: printed.length, page: document.documentElement.scrollWidth};
    """
    found = rendered(page, tmp_path, probe, "--window-size=703,900")  # A4 without its margins
    assert found["rules"] == 1 and found["page"] <= 703


def test_letters_of_a_drawing_are_as_large_on_a_phone(page: str, tmp_path: Path) -> None:
    probe = """
      const svg = document.querySelector('#membrane svg');
      return {drawn: svg.getBoundingClientRect().width, made: svg.viewBox.baseVal.width};
    """
    found = rendered(page, tmp_path, probe, "--window-size=500,900")
    assert found["drawn"] > 0.95 * found["made"]


@pytest.mark.slow
@pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core (npm install axe-core, or AXE_CORE)")
@pytest.mark.parametrize("kind", ["whole", "refused"])
@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(kind: str, dark: bool, page: str, tmp_path: Path) -> None:
    text = page if kind == "whole" else page_of(json.loads(refused_text()))
    probe = """
      document.querySelectorAll('details').forEach(d => { d.open = true; });
      document.querySelectorAll('section').forEach(s => { s.style.contentVisibility = 'visible'; });
      return axe.run({resultTypes: ['violations']}).then(r => r.violations.map(
        v => [v.impact, v.id, v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))]));
    """
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    flags = ("--virtual-time-budget=60000", "--window-size=1200,900", scheme)
    found = rendered(text, tmp_path, probe, *flags, library=AXE.read_text(encoding="utf-8"))
    assert [v for v in found if v[0] in ("serious", "critical")] == []


def test_the_largest_page_takes_less_than_two_seconds(tmp_path: Path) -> None:
    """Processor time beyond that of an empty page: other work on the machine does not count."""
    probe = "document.body.getBoundingClientRect(); return {};"

    def cost(page: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        rendered(page, tmp_path, probe)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    empty = min(cost("<!doctype html><html><body></body></html>") for _ in range(2))
    page: Any = page_of(large(whole_case()[0]), dense_spikes())
    assert min(cost(page) for _ in range(2)) - empty < 2
