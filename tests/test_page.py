"""report.html: self-contained, escaped, readable, small enough; opened in a real browser."""

from __future__ import annotations

import copy
import json
import re
import resource
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.flow_cases import FAST, ReluInstead, resnet, subject
from helpers.report_cases import Data, mistakes, page_of, typed

from purespike.compiler.report.lookup import layers_in_order
from purespike.compiler.report.page.elements import Html, el
from purespike.flow.build import build

CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
browser = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium (apt-get install chromium)")
VOID = {"meta", "br", "path", "rect", "line", "circle"}


class Reader(HTMLParser):
    """Elements with their attributes; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.found if t in tags]


@pytest.fixture(scope="module")
def refused() -> Data:
    data: Data = json.loads(build(subject(ReluInstead()), FAST).report.to_json())
    return data


@pytest.fixture(scope="module")
def whole() -> tuple[Data, dict[str, np.ndarray[Any, Any]]]:
    built = build(subject(resnet("iand")), FAST)
    assert built.golden is not None
    return json.loads(built.report.to_json()), dict(built.golden.spikes)


def large(data: Data, findings: int = 1000, layers: int = 300) -> Data:
    """The same report grown to many findings and layers."""
    grown = copy.deepcopy(data)
    names = [f"blocks.{k}.neuron" for k in range(layers)]
    grown["findings"] = [
        {**data["findings"][k % len(data["findings"])], "where": names[k % layers], "status": s}
        for k, s in ((k, ("FAIL", "PASS", "NOT RUN")[k % 3]) for k in range(findings))
    ]
    nodes = data["network"]["nodes"]
    for k, name in enumerate(names):
        node = {**nodes[k % len(nodes)], "name": name, "reads": [names[k - 1]] if k else ["x"]}
        if k > 3:
            node["reads"] = [names[k - 1], names[k - 3]]
        grown["network"]["nodes"].append(node)
    counts, activity = data["census"]["layers"], data["activity"]
    grown["census"]["layers"] = [
        {**counts[k % len(counts)], "name": n} for k, n in enumerate(names)
    ]
    grown["activity"] = [
        {**activity[k % len(activity)], "name": n, "rate_by_step": [0.1, 0.3] * 32}
        for k, n in enumerate(names)
    ]
    for row in grown["census"]["layers"]:
        row["ac_by_step"], row["ac_by_sample"] = [1234.0, 4321.5] * 32, [1.0, 5555.0]
    columns = data["census"]["conventions"]["layers"]
    grown["census"]["conventions"]["layers"] = [{**columns[0], "name": n} for n in names]
    for line in grown["ledger"]:
        line["layers"] = {n: k / layers for k, n in enumerate(names)}
        line["divergence"] = f"{names[1]} step 0 index (0, 1): 0 -> 1, margin 0.1"
    for e in grown["executors"]:
        e["layers"] = {n: {"spikes": 0.5, "membranes": 0.25} for n in names}
    assert mistakes(grown) == []
    return grown


def dense_spikes(layers: int = 300) -> dict[str, np.ndarray[Any, Any]]:
    """Spikes that change at every step: the longest drawing there is."""
    layer = (np.indices((64, 1, 32, 32)).sum(axis=0) % 2).astype(np.uint8)
    return {f"blocks.{k}.neuron": layer for k in range(layers)}


def test_everything_is_escaped() -> None:
    assert el("p", "<&>", Html("<b>x</b>"), None, title='"') == (
        '<p title="&quot;">&lt;&amp;&gt;<b>x</b></p>'
    )


def test_the_page_is_self_contained_well_formed_and_the_same_twice(
    whole: tuple[Data, dict[str, np.ndarray[Any, Any]]],
) -> None:
    page = page_of(*whole)
    assert page == page_of(*whole)
    reader = Reader(page)
    for attributes in (a for _, a in reader.found):
        assert not {"src", "srcset", "onclick", "style"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert "@import" not in page and "url(" not in page
    policy = next(a["content"] for a in reader.all("meta") if "http-equiv" in a) or ""
    assert policy.startswith("default-src 'none'")
    ids = [a["id"] for _, a in reader.found if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {(a["href"] or "")[1:] for a in reader.all("a")}
    assert targets <= set(ids)


def test_a_reader_without_eyes_or_mouse_gets_everything(
    whole: tuple[Data, dict[str, np.ndarray[Any, Any]]],
) -> None:
    page = page_of(*whole)
    reader = Reader(page)
    order = [t for t, _ in reader.found if re.fullmatch("h[1-6]", t)]
    assert order[0] == "h1" and order.count("h1") == 1 and set(order) == {"h1", "h2", "h3"}
    assert len(reader.all("caption")) == len(reader.all("table")) > 5
    for attributes in reader.all("svg"):
        assert attributes.get("aria-hidden") == "true" or attributes.get("role") in ("img", "group")
    assert page.count('role="img"') <= page.count("<title>")
    for attributes in reader.all("div"):
        if "scroll" in (attributes.get("class") or ""):
            assert attributes["tabindex"] == "0" and attributes["aria-label"]
    assert all(a.get("scope") for a in reader.all("th"))


def luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    lin = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * lin[0] + 0.7152 * lin[1] + 0.0722 * lin[2]


def test_every_text_colour_has_a_contrast_of_4_5_in_light_dark_and_print(refused: Data) -> None:
    style = page_of(refused).split("<style>")[1].split("</style>")[0]
    themes = [dict(re.findall(r"--(\w+): (#\w+)", block)) for block in style.split(":root")[1:]]
    assert len(themes) == 3
    for theme in themes:
        full = {
            k: v if len(v) == 7 else "#" + "".join(2 * c for c in v[1:]) for k, v in theme.items()
        }
        for fore, back in [
            *((f, b) for f in ("fg", "muted", "accent") for b in ("bg", "panel")),
            *((f, "bg") for f in ("pass", "fail", "warn")),
            *(("fg", b) for b in ("failbg", "warnbg", "passbg")),
            ("fail", "failbg"),
            ("warn", "warnbg"),
            ("pass", "passbg"),
            ("muted", "warnbg"),
        ]:
            a, b = sorted((luminance(full[fore]), luminance(full[back])))
            assert (b + 0.05) / (a + 0.05) >= 4.5, (fore, back, theme)


def test_the_verdict_comes_first_in_words_and_leads_to_the_layer(refused: Data) -> None:
    page = page_of(refused)
    text = " ".join(Reader(page).text)
    assert text.index("Do not put this network on loihi2") < text.index("Network")
    assert "To do: replace the ReLU by a spiking neuron" in text
    node = re.search(r'<a href="#(f\d+)" id="(n\d+)" aria-label="neuron1: Relu', page)
    assert node is not None
    row = page.split(f'id="{node[1]}"')[1].split("</tr>")[0]
    assert f'href="#{node[2]}"' in row and "PS004" in row
    assert "Spike rasters need a bundle" in text


def test_the_page_says_whose_waivers_hold_and_never_spike_only(whole: Any) -> None:
    data = copy.deepcopy(whole[0])
    for f in data["findings"]:
        f["status"] = "PASS"
    data["findings"][0] |= {
        "status": "WAIVED",
        "waiver": {"who": "A. Person", "why": "<script>alert(1)</script>", "until": "2026-06-30"},
    }
    data["verdict"] |= {"compliant": True, "headline": "ACCEPTED WITH WAIVERS: PS001"}
    page = page_of(data)
    assert "accepted by A. Person" in page and "This network is not spike-only" in page
    assert "<script>alert" not in page
    assert page.index('id="waivers"') < page.index('id="network"')


def test_the_page_never_says_additions_only_where_a_policy_allows_multiplications(
    whole: Any,
) -> None:
    data = copy.deepcopy(whole[0])
    for f in data["findings"]:
        f["status"] = "PASS"
    data["verdict"]["compliant"] = True
    assert "spikes and additions only" in page_of(data)
    data["census"]["chip"]["mul"] = 432
    page = page_of(data)
    assert "spikes and additions only" not in page and "432 multiplications per sample" in page


def test_a_network_that_was_not_compiled_is_said_to_hold_as_the_policy_counts_and_no_more(
    whole: Any,
) -> None:
    data = copy.deepcopy(whole[0])
    data["verdict"] |= {
        "compliant": True,
        "headline": "COMPLIANT UNDER POLICY paper",
        "demanded": ["PS001", "PS002", "PS003", "PS004", "PS005", "PS011"],
    }
    data["census"]["chip"]["mac"] = 72
    text = " ".join(Reader(page_of(data)).text)
    assert "additions only" not in text and "every multiplication is one that it allows (72" in text
    assert "says nothing about PS006, PS007" in text


def test_the_counts_show_every_step_and_the_range_over_samples(whole: Any) -> None:
    data = whole[0]
    part = page_of(data).split('id="counts"')[1].split("</section>")[0]
    layer = next(c for c in data["census"]["layers"] if c["ac_by_step"])
    low, high = layer["ac_by_sample"]
    assert f"{low:,.0f} to {high:,.0f}" in part
    words = ", ".join(f"step {t}: {ac:,.0f}" for t, ac in enumerate(layer["ac_by_step"]))
    assert f"<title>{words}</title>" in part
    assert sum(layer["ac_by_step"]) == pytest.approx(layer["counts"]["ac"])


def test_the_papers_costs_and_every_tools_count_of_a_layer_are_shown(whole: Any) -> None:
    data = whole[0]
    text = " ".join(Reader(page_of(data)).text)
    aap = data["census"]["conventions"]["aap"]
    assert f"{aap['dc_nanojoule']:,.1f} nJ" in text
    assert "{:,.1f} to {:,.1f} nJ".format(*aap["ec_nanojoule"]) in text
    assert f"{100 * aap['snn_to_ann']:.2f} %" in text
    for layer in data["census"]["conventions"]["layers"]:
        assert f"{layer['syops-counter 0.0.5']['ac']:,.0f}" in text


def test_the_ledger_marks_the_first_divergence_and_rounds_no_difference_away(whole: Any) -> None:
    data = copy.deepcopy(whole[0])
    order = layers_in_order(typed(data))
    drawn = [n["name"] for n in data["network"]["nodes"]]
    assert order == sorted(order, key=drawn.index) and len(order) > 5
    for stage in (*data["ledger"], *data["executors"]):
        stage["divergence"] = None
        stage["layers"] = {
            k: (1.0 if isinstance(v, float) else dict.fromkeys(v, 1.0))
            for k, v in stage["layers"].items()
        }

    def part(data: Data) -> str:
        return page_of(data).split('id="ledger"')[1].split("</section>")[0]

    assert 'class="mark"' not in part(data) and "<details" not in part(data)
    lava = data["executors"][-1]
    hit = order[4]
    lava["layers"][hit] = {"spikes": 1.0, "membranes": 1 - 1e-9}
    lava["divergence"] = f"{hit} (membranes), first at (step, sample, ...) (1, 0): 3 -> 4"
    page = part(data)
    assert page.count('class="mark"') == 1 and f"{hit} (membranes), first at" in page
    row = page.split("<details")[1].split(f">{hit}<")[1].split("</tr>")[0]
    assert "99.999 %" in row
    middle = float(re.search(r'd="M([\d.]+) 19l[^"]*" class="mark"', page)[1])  # type: ignore[index]
    cell = 14.0 if len(order) < 17 else 240 / len(order)
    assert middle == pytest.approx((4 + 0.5) * cell, abs=0.01)


def test_a_thousand_findings_and_300_layers_stay_below_5_megabytes(whole: Any) -> None:
    start = time.perf_counter()
    page = page_of(large(whole[0]), dense_spikes())
    assert len(page.encode()) < 5_000_000
    assert time.perf_counter() - start < 30
    Reader(page)


def rendered(page: str, folder: Path, probe: str, *flags: str, anchor: str = "") -> dict[str, Any]:
    """What ``probe`` (JavaScript) finds once a real browser has opened the page."""
    assert CHROMIUM is not None
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    code = f"document.body.innerHTML = JSON.stringify((() => {{ {probe} }})());"
    script = f"<script>addEventListener('load', () => {{ {code} }});</script>"
    path = folder / "page.html"
    path.write_text(page.replace("</body>", script + "</body>"))
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update")
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", *quiet,
            "--disable-sync", f"--user-data-dir={folder / 'profile'}", *flags, "--dump-dom",
            f"{path.as_uri()}{anchor}",
        ],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    body = done.stdout.split("<body>")[1].split("</body>")[0]
    found: dict[str, Any] = json.loads(body)
    return found


@browser
def test_in_a_browser_the_chosen_layer_shows_and_a_link_unfolds_its_finding(
    whole: Any, tmp_path: Path
) -> None:
    probe = """
      const shown = () => [...document.querySelectorAll('[data-raster]')]
        .map((r, k) => r.hidden ? -1 : k).filter(k => k >= 0);
      const before = shown(); const chooser = document.getElementById('layer');
      chooser.selectedIndex = 2; chooser.dispatchEvent(new Event('change'));
      const row = document.getElementById('f0');
      return {before, after: shown(), visible: row.getBoundingClientRect().height > 0,
              open: row.closest('details').open};
    """
    found = rendered(page_of(*whole), tmp_path, probe, anchor="#f0")
    assert found == {"before": [0], "after": [2], "visible": True, "open": True}


@browser
def test_in_a_browser_paper_gets_what_the_screen_folds(whole: Any, tmp_path: Path) -> None:
    probe = """
      const open = () => document.querySelectorAll('details[open]').length;
      const all = document.querySelectorAll('details').length;
      const before = open(); dispatchEvent(new Event('beforeprint'));
      const printed = open(); dispatchEvent(new Event('afterprint'));
      return {before, all: printed === all && all > 10, after: open()};
    """
    assert rendered(page_of(*whole), tmp_path, probe) == {"before": 0, "all": True, "after": 0}


@browser
@pytest.mark.parametrize("width", [500, 1200])  # headless windows are 500 px wide at least
def test_in_a_browser_nothing_is_wider_than_the_window(
    whole: Any, width: int, tmp_path: Path
) -> None:
    probe = "return {page: document.documentElement.scrollWidth, window: innerWidth};"
    found = rendered(page_of(*whole), tmp_path, probe, f"--window-size={width},900")
    assert found["page"] <= found["window"] == width


@browser
def test_in_a_browser_the_largest_page_takes_less_than_two_seconds(
    whole: Any, tmp_path: Path
) -> None:
    """Processor time beyond that of an empty page: other work on the machine does not count."""
    probe = "document.body.getBoundingClientRect(); return {};"

    def cost(page: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        rendered(page, tmp_path, probe)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    empty = min(cost("<!doctype html><html><body></body></html>") for _ in range(2))
    page = page_of(large(whole[0]), dense_spikes())
    assert min(cost(page) for _ in range(2)) - empty < 2
