"""report.html: self-contained, escaped, readable, small enough."""

from __future__ import annotations

import copy
import json
import re
import time
from typing import Any

import pytest
from helpers.page_cases import Reader, dense_spikes, large, refused_text, whole_case
from helpers.report_cases import Data, page_of, typed

from purespike.compiler.ir.interpret import Trace
from purespike.compiler.report.lookup import layers_in_order
from purespike.compiler.report.page.elements import Html, el

Whole = tuple[Data, Trace]


@pytest.fixture
def refused() -> Data:
    data: Data = json.loads(refused_text())
    return data


@pytest.fixture
def whole() -> Whole:
    return whole_case()


def test_everything_is_escaped() -> None:
    assert el("p", "<&>", Html("<b>x</b>"), None, title='"') == (
        '<p title="&quot;">&lt;&amp;&gt;<b>x</b></p>'
    )


def test_the_page_is_self_contained_well_formed_and_the_same_twice(
    whole: Whole,
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
    whole: Whole,
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
            *((f, "lit") for f in ("fg", "muted", "accent", "pass", "fail", "warn")),
        ]:
            a, b = sorted((luminance(full[fore]), luminance(full[back])))
            assert (b + 0.05) / (a + 0.05) >= 4.5, (fore, back, theme)


def test_the_verdict_comes_first_in_words_and_leads_to_the_layer(refused: Data) -> None:
    page = page_of(refused)
    text = " ".join(Reader(page).text)
    assert text.index("Do not put this network on loihi2") < text.index("Network")
    assert "To do: replace the ReLU by a spiking neuron" in text
    node = re.search(r'<a href="#(f\d+)" id="(n\d+)"[^>]*><title>neuron1: Relu', page)
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
