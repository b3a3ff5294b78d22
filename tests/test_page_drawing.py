"""The page's drawing, layers, samples and answers, read without a browser."""

from __future__ import annotations

import copy
import json
import math
import re
from base64 import b64decode
from typing import Any

import msgspec
import numpy as np
import pytest
from helpers.graph_cases import graph_of
from helpers.page_cases import Reader, dense_spikes, large, refused_text, whole_case
from helpers.report_cases import page_of, typed
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import purespike as ps
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge
from purespike.compiler.ir.interpret import Trace
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.report.page.layers import Layers, signed_bits
from purespike.compiler.report.page.parts import Box, boxes, parts
from purespike.compiler.report.page.samples import BUDGET, changes, keep
from purespike.compiler.report.rows.network import EdgeRow, Network, NodeRow
from purespike.compiler.report.tables.levels import copies, levels_table
from purespike.nn import LevelActivation, TimeMean
from purespike.targets.agreement import Executor, compare


def net(*reads: tuple[int, ...], fires: tuple[int, ...] = ()) -> list[Box]:
    """Boxes that read others by number."""
    made = []
    for k, own in enumerate(reads):
        edge = NodeRow(
            name=f"l{k}", shape=(1,), domain="spike", operation="Neuron", reads=(), role="main",
            origin="", fires=k in fires,
        )  # fmt: skip
        made.append(Box(f"l{k}", (k,), edge, own))
    return made


@pytest.mark.parametrize(
    ("drawn", "found"),
    [
        pytest.param(net((), (0,), (1,)), [(0, 3)], id="a chain"),
        pytest.param(
            net((), (0,), (1,), (2,), (3,), (4,), fires=(2, 3)), [(0, 4), (4, 6)], id="long"
        ),
        pytest.param(
            net((), (0,), (1,), (2, 0), (3,), (4,), fires=(0, 4)),
            [(0, 1), (1, 5), (5, 6)],
            id="a residual block with its neuron, and what comes after",
        ),
        pytest.param(net((), (0,), (1, 0), (0, 2)), [(0, 1), (1, 4)], id="read twice"),
        pytest.param(net((), (0, 3), (1,), (2,), (3,)), [(0, 1), (1, 5)], id="a loop"),
        pytest.param(net((), (), (0, 1), (2,)), [(0, 1), (1, 4)], id="two inputs"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_parts_end_where_one_value_alone_passes(
    drawn: list[Box], found: list[tuple[int, int]]
) -> None:
    cut = [(p.start, p.stop) for p in parts(drawn)]
    assert cut == found
    for start, stop in cut[1:]:  # nothing but the last value of the part above is read
        assert all(i >= start - 1 for b in range(start, stop) for i in drawn[b].reads)


def test_every_layer_is_drawn_once_with_domain_rate_bits_and_cores() -> None:
    data, trace = whole_case()
    page = page_of(data, trace)
    drawing = page.split('class="network"')[1].split("</svg>")[0]
    layers = Layers(typed(data))
    assert re.findall(r'id="n(\d+)"', drawing) == [str(k) for k in range(len(layers.edges))]
    neuron = next(e for e in layers.edges if isinstance(e, NodeRow) and e.fires)
    rate = next(c["firing_rate"] for c in data["census"]["layers"] if c["name"] == neuron.name)
    box = drawing.split(f"<title>{neuron.name}: ")[1].split("</a>")[0]
    low, high = next(a["membrane_bound"] for a in data["activity"] if a["name"] == neuron.name)
    bits = next(b for b in range(1, 40) if -(2 ** (b - 1)) <= low and high < 2 ** (b - 1))
    cores = next(x["cores"] for x in data["resources"]["layers"] if x["layer"] == neuron.name)
    words = f"spike · {100 * rate:.1f} % · {bits} b membrane · {len(cores)} core"
    assert words in box


@given(st.integers(-(2**24), 2**24), st.integers(0, 2**24))
def test_signed_bits_are_the_fewest(low: int, more: int) -> None:
    high = low + more
    bits = signed_bits(low, high)
    assert -(2 ** (bits - 1)) <= low <= high < 2 ** (bits - 1)
    if bits > 1:
        assert low < -(2 ** (bits - 2)) or high >= 2 ** (bits - 2)


def test_levels_are_one_stack_with_their_cost_and_names_alone_make_none() -> None:
    model = nn.Sequential(
        nn.Linear(3, 4, bias=False), LevelActivation(3, step=4.0), nn.Linear(4, 2), TimeMean()
    )
    for p in model.parameters():
        p.data.fill_(5.0)
    x = (np.random.default_rng(0).random((1, 6, 3)) < 0.5).astype(np.uint8)
    report = ps.compile(model.eval(), ps.Samples(x), golden=2, lava="none").report
    assert report.network is not None
    drawn = boxes(report.network, copies(report))
    stack = next(b for b in drawn if b.operation == "Neuron" and len(b.layers) > 1)
    edges = (*report.network.inputs, *report.network.nodes)
    names = [edges[k].name for k in stack.layers]
    assert names == [f"{stack.name}.level{k}" for k in (1, 2, 3)]
    [row] = levels_table(report).rows
    spikes = {c.name: c.counts.ac for c in report.census.layers}
    readers = {n.name for n in report.network.nodes if set(n.reads) & set(names)}
    assert row[2:4] == ("3", "4 → 12") and row[5] == f"{sum(spikes[r] for r in readers):,.0f}"
    page = page_of(json.loads(report.to_json()))
    assert f"{stack.name} ×3" in page and page.count('class="edge spike many"') >= 1
    without = [x for x in json.loads(report.to_json())["ledger"] if x["name"] != "unroll_levels"]
    alone = typed({**json.loads(report.to_json()), "ledger": without})
    assert not copies(alone) and not levels_table(alone).rows


def test_thresholds_that_differ_are_listed_as_far_as_there_are_few() -> None:
    def row(shape: tuple[int, ...], *place: int) -> NodeRow:
        threshold = np.arange(1, 1 + math.prod(place)).reshape(place)
        graph = graph_of([("n", Neuron(threshold), ("x",))], x=Edge("x", shape, SPIKE))
        return Network.of(graph, "captured").nodes[0]

    assert row((3, 2, 2)).thresholds == (1, 1) and row((3, 2, 2)).threshold_of == ()
    own = row((3, 2, 2), 3, 1, 1)
    assert (own.thresholds, own.threshold_of, own.threshold_shape) == ((1, 3), (1, 2, 3), (3, 1, 1))
    many = row((5, 30, 30), 5, 30, 30)
    assert many.thresholds == (1, 4500) and many.threshold_of == ()
    data = whole_case()[0]
    data["network"]["nodes"] = [msgspec.to_builtins(own)]
    [(name, every)] = Layers(typed(data)).thresholds.items()
    assert name == "n" and every[:, 1, 0].tolist() == [1, 2, 3]


def decoded(own: dict[str, Any], samples: int, steps: int) -> Trace:
    """What a data block of one layer says, decoded anew."""
    n = len(own["n"])
    bits = "".join(f"{b:08b}" for b in b64decode(own["s"]))[: samples * n * steps]
    spikes = np.array([int(b) for b in bits]).reshape(samples, n, steps)
    numbers: list[int] = []
    value = shift = 0
    for b in b64decode(own["m"]):
        value |= (b & 127) << shift
        shift += 7
        if b < 128:
            numbers.append(-(value >> 1) - 1 if value & 1 else value >> 1)
            value = shift = 0
    levels = np.array(numbers).reshape(samples, n, steps).cumsum(axis=-1)
    return Trace({"": spikes}, {"": levels})


def test_what_is_kept_is_what_was_recorded() -> None:
    rng = np.random.default_rng(0)
    spikes = (rng.random((5, 9, 100)) < 0.3).astype(np.uint8)
    levels = rng.integers(-(2**23), 2**23, spikes.shape, dtype=np.int32)
    kept = keep(Trace({"a": spikes}, {"a": levels, "out": levels[:, :, :3]}), {})
    assert kept is not None and (kept.samples, kept.of_samples, kept.steps) == (8, 9, 5)
    own = kept.data["a"]
    back = decoded(dict(own), kept.samples, kept.steps)
    assert (back.values[""] == spikes[:, :8, own["n"]].transpose(1, 2, 0)).all()
    assert (back.membranes[""] == levels[:, :8, own["n"]].transpose(1, 2, 0)).all()
    assert len(own["n"]) == 64 and own["of"] == 100 and "s" not in kept.data["out"]
    assert changes(np.array([[0, -1, 63, 64 + 63]])) == bytes([0, 1, 128, 1, 128, 1])


def test_the_samples_of_a_page_stay_within_their_budget_and_it_says_what_is_left_out() -> None:
    rng = np.random.default_rng(0)
    wild = rng.integers(-(2**23), 2**23, (300, 12, 70), dtype=np.int32)
    names = [f"l{k}" for k in range(60)]
    spikes = {n: (wild > 0).astype(np.uint8) for n in names}
    own = dict.fromkeys(names, rng.integers(0, 1000, 70).astype(float))
    kept = keep(Trace(spikes, dict.fromkeys(names, wild)), own)
    assert kept is not None
    assert len(kept.block({n: k for k, n in enumerate(names)})) < BUDGET + 100
    assert re.search(r"keeps \d+ of 12 golden samples, \d+ of 300 steps", kept.words())
    assert len(page_of(large(whole_case()[0]), dense_spikes()).encode()) < 5_000_000
    assert keep(Trace({}, {}), {}) is None


HOSTILE = "</script><img src=x onerror=alert(1)>\"'&<!--"


def test_names_from_files_are_text_wherever_they_stand() -> None:
    data, trace = whole_case()
    victim = data["network"]["nodes"][2]["name"]
    text = json.dumps(data).replace(json.dumps(victim)[1:-1], json.dumps(HOSTILE)[1:-1])
    named = json.loads(text)
    named["model"] = HOSTILE

    def renamed(arrays: Any) -> dict[str, Any]:
        return {HOSTILE if n == victim else n: a for n, a in arrays.items()}

    page = page_of(named, Trace(renamed(trace.values), renamed(trace.membranes)))
    reader = Reader(page)
    assert not reader.all("img") and len(reader.all("script")) == 2
    assert HOSTILE in " ".join(reader.text)
    assert all("onerror" not in a for _, a in reader.found)


def test_a_difference_between_executors_is_kept_and_drawn_as_two_traces() -> None:
    data, trace = whole_case()
    layer = next(n for n in trace.values if trace.values[n].any())
    step, sample, *place = (int(i) for i in np.argwhere(trace.values[layer])[0])
    wrong = trace.values[layer].copy()
    wrong[(step, sample, *place)] = 0
    high = {n: a.copy() for n, a in trace.membranes.items()}
    high[layer][(slice(step, None), sample, *place)] += 7
    row = Executor(8, tuple(compare(trace, {**trace.values, layer: wrong}, high))).row("other")
    found = row.traces
    assert found is not None
    assert (found.layer, found.sample, found.index, found.step) == (
        layer, sample, tuple(place), step,
    )  # fmt: skip
    at = (slice(None), sample, *place)
    assert found.spikes == (tuple(trace.values[layer][at]), tuple(wrong[at]))
    assert found.membranes == (tuple(trace.membranes[layer][at]), tuple(high[layer][at]))
    report = typed(data)
    grown = json.loads(report.to_json())
    grown["executors"].append(msgspec.to_builtins(row))
    page = page_of(grown)
    figure = page.split("First differences, as traces")[1].split("</figure>")[-2]
    assert f"other: {layer}, sample {sample}" in figure and figure.count('class="trace') == 4
    said = ", ".join(f"{v:.6g}" for v in high[layer][at])
    assert f"found: membrane {said}; " in figure and page.count("other: ") > 1


def test_a_pass_that_moves_a_spike_keeps_both_courses_up_to_it() -> None:
    data = whole_case()[0]
    line = next(x for x in data["ledger"] if x["divergence"])
    found = line["traces"]
    assert line["divergence"].startswith(f"{found['layer']} step {found['step']} ")
    assert [len(x) for x in found["spikes"]] == [found["step"] + 1] * 2
    assert found["spikes"][0][:-1] == found["spikes"][1][:-1]
    assert found["spikes"][0][-1] != found["spikes"][1][-1]
    a, b = (x[-1] for x in found["membranes"])
    assert f"membrane {a:.6g} -> {b:.6g}" in line["divergence"]
    drawn = page_of(data).split("First differences, as traces")[1]
    assert "quantize: " in drawn
    assert f"first different at step {found['step']}: before {a:.6g}, after {b:.6g}. " in drawn


def test_the_answers_name_what_did_not_run_and_what_differs() -> None:
    data = whole_case()[0]
    part = page_of(data).split('id="overview"')[1].split("</section>")[0]
    assert "not run: PS010" in part and "Did not run: PS010 Lava" in part
    cpu = next(e for e in data["executors"] if e["name"] == "cpu")
    layers = len(cpu["layers"])
    assert f"cpu: {layers} of {layers} layers equal over {cpu['samples']} samples" in part
    worse = copy.deepcopy(data)
    cpu = next(e for e in worse["executors"] if e["name"] == "cpu")
    cpu["layers"][next(iter(cpu["layers"]))] = {"spikes": 0.5}
    cpu["divergence"] = "here (spikes), first at (step, sample, ...) (0, 0): 1 -> 0"
    part = page_of(worse).split('id="overview"')[1].split("</section>")[0]
    assert f"cpu: {layers - 1} of {layers} layers equal" in part and "differs first at here" in part
    refused = page_of(json.loads(refused_text()))
    assert "broken: PS001, PS004" in refused.split('id="overview"')[1]


def test_an_edge_without_a_node_is_an_input() -> None:
    assert Box("x", (0,), EdgeRow(name="x", shape=(1,), domain="spike")).role == "input"
