"""Layers on cores: every number again by listing every connection, one neuron at a time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import product
from math import ceil, prod

import numpy as np
import pytest
from helpers.strategies import FIXED, chip_graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Node, Op, build
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Flatten, Linear, Neuron, Relu, Scale
from purespike.targets.resources.chips import CHIPS, LOIHI1, LOIHI2, Chip
from purespike.targets.resources.layers import Link, ResourceError, layers
from purespike.targets.resources.mapping import Mapping, map_network
from purespike.targets.resources.partition import RESOURCES, core_limits
from purespike.targets.resources.rule import check_resources

WHOLE = np.random.default_rng(0)


def limited(chip: Chip = LOIHI1, **limits: int) -> Chip:
    """The chip with other limits."""
    values = {n: replace(chip.values()[n], value=v) for n, v in limits.items()}
    return replace(chip, **values)


def connections(link: Link, shape: tuple[int, ...]) -> set[tuple[int, int]]:
    """(source neuron, target neuron), flat, of every synapse: plain loops, no numpy."""
    op = link.op
    if isinstance(op, Linear):
        outs, ins = op.weight.shape
        return set(product(range(ins), range(outs)))
    if isinstance(op, Scale):
        return {(i, i) for i in range(prod(shape))}
    channels, height, width = link.shape
    out, inner, kh, kw = op.weight.shape
    hs = (height + 2 * op.padding[0] - op.dilation[0] * (kh - 1) - 1) // op.stride[0] + 1
    ws = (width + 2 * op.padding[1] - op.dilation[1] * (kw - 1) - 1) // op.stride[1] + 1
    pairs = set()
    for o, y, x, c, i, j in product(*map(range, (out, hs, ws, inner, kh, kw))):
        row = y * op.stride[0] - op.padding[0] + i * op.dilation[0]
        column = x * op.stride[1] - op.padding[1] + j * op.dilation[1]
        if 0 <= row < height and 0 <= column < width:
            source = (o // (out // op.groups)) * inner + c
            pairs.add(((source * height + row) * width + column, (o * hs + y) * ws + x))
    assert channels == inner * op.groups
    return pairs


def width_of(link: Link) -> int:
    """Bits of a stored weight."""
    values = [int(v) for v in link.weights().reshape(-1)]
    need = next(
        b
        for b in range(1, 99)
        if max(map(abs, values)) < 2 ** (b - (min(values) < 0 < max(values)))
    )
    return 8 if need == 7 else need


def memory_of(link: Link, held: list[int], grid: tuple[int, int]) -> int:
    """Bytes for the neurons ``held``: one list of weights after the other."""
    bits = width_of(link)

    def words(n: int) -> int:
        return ceil((n * bits + 10) / 64)

    if isinstance(link.op, Linear):
        return 8 * sum(words(len(held)) for _ in range(link.op.weight.shape[1]))
    if isinstance(link.op, Conv2d):
        out, inner, kh, kw = link.op.weight.shape
        by_group: dict[int, set[int]] = defaultdict(set)
        for n in held:
            by_group[n // grid[1] // (out // link.op.groups)].add(n // grid[1])
        return 8 * sum(inner * words(len(c) * kh * kw) for c in by_group.values())
    factor = link.weights()
    which = np.broadcast_to(np.arange(factor.size).reshape(factor.shape), link.shape).reshape(-1)
    return 8 * len({int(which[n]) for n in held}) * words(1)


def check_by_enumeration(graph: Graph, mapping: Mapping) -> None:
    """Every neuron in one core; every number of every core counted again."""
    found = {layer.name: layer for layer in layers(graph)}
    assert [m.name for m in mapping.layers] == list(found)
    holder: dict[str, dict[int, int]] = {}
    for m in mapping.layers:
        grid = found[m.name].grid
        holder[m.name] = {}
        for k, core in enumerate(m.cores):
            b = core.block
            for c, p in product(range(b.first, b.last), range(b.start, b.stop)):
                assert c * grid[1] + p not in holder[m.name]
                holder[m.name][c * grid[1] + p] = k
        assert sorted(holder[m.name]) == list(range(prod(graph.edge(m.name).shape)))
    sent: dict[str, set[tuple[int, str, str, int]]] = defaultdict(set)
    arrived: dict[tuple[str, int], set[tuple[str, int]]] = defaultdict(set)
    for name, layer in found.items():
        for link in layer.links:
            for source, target in connections(link, graph.edge(name).shape):
                core_of = holder[name][target]
                sent[link.source].add((source, name, link.name, core_of))
                arrived[name, core_of].add((link.name, source))
    for m in mapping.layers:
        layer = found[m.name]
        flat = layer.thresholds.reshape(-1)
        for k, core in enumerate(m.cores):
            held = [n for n, where in holder[m.name].items() if where == k]
            assert core.neurons == len(held)
            assert core.in_axons == len(arrived[m.name, k])
            assert core.out_axons == sum(holder[m.name][a[0]] == k for a in sent[m.name])
            assert core.memory == sum(memory_of(link, held, layer.grid) for link in layer.links)
            assert core.thresholds == len({float(flat[n]) for n in held})


def check_limits(mapping: Mapping) -> None:
    """No core over a limit without a violation, no violation without such a core."""
    limits = core_limits(mapping.chip)
    over = {
        (m.where, r)
        for m in mapping.layers
        for c in m.cores
        for r, limit in limits.items()
        if c.use(r) > limit
    }
    assert {(v.where, v.what) for v in mapping.violations if v.what in RESOURCES} == over


@given(
    graph=chip_graphs(),
    limits=st.fixed_dictionaries(
        {
            "neurons": st.integers(1, 60),
            "in_axons": st.integers(4, 200),
            "out_axons": st.integers(4, 200),
            "memory": st.integers(100, 4000),
            "thresholds": st.integers(1, 8),
        }
    ),
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_networks_on_random_chips(graph: Graph, limits: dict[str, int]) -> None:
    mapping = map_network(graph, limited(**limits))
    check_by_enumeration(graph, mapping)
    check_limits(mapping)


@given(graph=chip_graphs())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_networks_on_both_chips(graph: Graph) -> None:
    for chip in CHIPS.values():
        mapping = map_network(graph, chip)
        check_by_enumeration(graph, mapping)
        check_limits(mapping)


def net(*nodes: tuple[str, Op, tuple[str, ...]], x: tuple[int, ...] = (2, 4, 4)) -> Graph:
    return build((Edge("x", x, SPIKE),), nodes, (nodes[-1][0],), 2)


def spiking(threshold: float = 3.0, **more: object) -> Neuron:
    return Neuron(np.array(threshold), fixed=FIXED, **more)  # type: ignore[arg-type]


def ones(*shape: int, of: float = 1.0) -> np.ndarray:
    return np.full(shape, of)


def test_a_dense_layer_by_hand() -> None:
    """10 inputs, 7 neurons, weights of 1: one bit. 3 neurons per core leave cores of 3, 3 and 1."""
    graph = net(("l", Linear(ones(7, 10)), ("x",)), ("n", spiking(), ("l",)), x=(10,))
    mapping = map_network(graph, limited(neurons=3))
    (layer,) = mapping.layers
    assert [c.neurons for c in layer.cores] == [3, 3, 1]
    assert [c.in_axons for c in layer.cores] == [10, 10, 10]
    assert [c.out_axons for c in layer.cores] == [0, 0, 0]  # nobody on the chip listens
    assert [c.memory for c in layer.cores] == [80, 80, 80]  # ten lists of one word of 8 bytes
    assert mapping.utilisation(layer.cores[2])["neurons"] == 33.33
    assert (mapping.cores, mapping.chips, mapping.fits) == (3, 1, True)


def test_a_convolution_shares_its_kernels_within_a_core_by_hand() -> None:
    """4 x 4 image, 3 x 3 kernel, padding 1, 8 channels: 16 positions of 8 neurons.

    32 neurons per core are four positions of eight channels, one row: the core sees two rows of two
    channels at the border, three inside. Kernels: two lists of 8 * 9 weights of 8 bits in 10 words.
    """
    kernel = ones(8, 2, 3, 3, of=100.0)
    kernel[0] = -100
    conv = Conv2d(kernel, None, (1, 1), (1, 1))
    graph = net(("c", conv, ("x",)), ("n", spiking(), ("c",)))
    (layer,) = map_network(graph, limited(neurons=32)).layers
    assert [c.neurons for c in layer.cores] == [32] * 4
    assert [c.in_axons for c in layer.cores] == [16, 24, 24, 16]
    assert [c.memory for c in layer.cores] == [2 * 10 * 8] * 4


def test_channels_are_cut_where_a_kernel_does_not_fit_a_core() -> None:
    conv = Conv2d(ones(8, 2, 3, 3, of=255.0))
    graph = net(("c", conv, ("x",)), ("n", spiking(), ("c",)))
    (layer,) = map_network(graph, limited(memory=2 * 5 * 8)).layers  # 4 channels: 2 lists, 5 words
    assert [(c.block.first, c.block.last) for c in layer.cores] == [(0, 4), (4, 8)]


def test_one_axon_leaves_for_each_core_and_synapse_that_listens() -> None:
    graph = net(
        ("a", Scale(ones()), ("x",)),
        ("first", spiking(1.0), ("a",)),
        ("b", Linear(ones(6, 5)), ("first",)),
        ("second", spiking(), ("b",)),
        ("c", Scale(ones(5)), ("first",)),
        ("third", spiking(), ("c",)),
        x=(5,),
    )
    first, second, third = map_network(graph, limited(neurons=2)).layers
    assert [len(m.cores) for m in (first, second, third)] == [3, 3, 3]
    assert [c.out_axons for c in first.cores] == [2 * 4, 2 * 4, 4]  # three cores of b, one of c
    assert sum(c.out_axons for c in first.cores) == sum(
        c.in_axons for m in (second, third) for c in m.cores
    )


def test_a_loop_counts_its_own_axons_and_its_delay() -> None:
    spike = Edge("", (4,), SPIKE)
    nodes = [
        Node(op, reads, replace(spike, name=name))
        for name, op, reads in (
            ("in", Linear(ones(4, 3)), ("x",)),
            ("back", Linear(ones(4, 4)), ("late",)),
            ("sum", Add(), ("in", "back")),
            ("n", spiking(), ("sum",)),
            ("late", Delay(70), ("n",)),
        )
    ]
    graph = Graph((Edge("x", (3,), SPIKE),), (), ("n",), 2).rebuilt(nodes)
    mapping = map_network(graph, limited(neurons=2))
    check_by_enumeration(graph, mapping)
    assert [(v.where, v.what, v.measured, v.limit) for v in mapping.violations] == [
        ("back", "delay", 70, 62)
    ]


VIOLATIONS: dict[str, tuple[Graph, Chip, str, int, int]] = {
    "in_axons": (
        net(("l", Linear(ones(2, 5000)), ("x",)), ("n", spiking(), ("l",)), x=(5000,)),
        LOIHI1, "n", 5000, 4096,
    ),
    "out_axons": (
        net(
            ("a", Scale(ones()), ("x",)), ("n", spiking(), ("a",)),
            ("l", Linear(ones(9, 1)), ("n",)), ("m", spiking(), ("l",)), x=(1,),
        ),
        limited(neurons=1, out_axons=8), "n", 9, 8,
    ),
    "memory": (
        net(
            ("l", Linear(ones(2, 30000)), ("x",)), ("n", spiking(), ("l",)), x=(30000,)
        ),
        LOIHI2, "n", 240000, 196608,
    ),
    "weight_bits": (
        net(("l", Linear(np.array([[256.0], [-1]])), ("x",)), ("n", spiking(), ("l",)), x=(1,)),
        LOIHI2, "l", 10, 8,
    ),
    "bias": (
        net(("l", Linear(ones(2, 1), ones(2, of=-4096.0)), ("x",)), ("n", spiking(), ("l",)),
            x=(1,)),
        LOIHI2, "l", 4096, 4095,
    ),
    "threshold": (
        net(("l", Linear(ones(2, 1)), ("x",)), ("n", spiking(131073.0), ("l",)), x=(1,)),
        LOIHI2, "n", 131073, 131072,
    ),
    "delay": (
        net(("d", Delay(63), ("x",)), ("l", Linear(ones(2, 1)), ("d",)), ("n", spiking(), ("l",)),
            x=(1,)),
        LOIHI1, "l", 63, 62,
    ),
    "soft_reset": (
        net(("l", Linear(ones(2, 1)), ("x",)), ("n", spiking(reset="subtract"), ("l",)), x=(1,)),
        LOIHI1, "n", 1, 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", VIOLATIONS)
def test_every_kind_of_violation_is_named_with_its_remedy(what: str) -> None:
    graph, chip, where, measured, limit = VIOLATIONS[what]
    mapping = map_network(graph, chip)
    (v,) = mapping.violations
    assert (v.where, v.what, v.measured, v.limit) == (where, what, measured, limit)
    assert v.unit == chip.values()[what].unit and len(v.remedy) > 15
    assert not mapping.fits and "1 limit broken" in mapping.summary


def test_all_violations_come_at_once_and_one_below_each_limit_none() -> None:
    """The same networks with one less of everything fit."""
    both = net(
        ("l", Linear(ones(2, 5000, of=300.0), ones(2, of=9999.0)), ("x",)),
        ("n", spiking(200000.0, reset="subtract"), ("l",)),
        x=(5000,),
    )
    found = {v.what for v in map_network(both, LOIHI1).violations}
    assert found == {"in_axons", "weight_bits", "bias", "threshold", "soft_reset"}
    legal = net(
        ("d", Delay(62), ("x",)),
        ("l", Linear(ones(2, 4096, of=255.0), ones(2, of=4095.0)), ("d",)),
        ("n", spiking(131072.0), ("l",)),
        x=(4096,),
    )
    assert map_network(legal, LOIHI1).violations == ()


@pytest.mark.parametrize(
    ("weights", "bits"),
    [
        ([-198, 198], 8),  # the halves of even ones
        ([-256, 254], 8),
        ([-256, 256], 9),
        ([-198, 197], 9),
        ([-128, 127], 8),
        ([-4, 3], 3),
        ([-4, 4], 4),
        ([0, 255], 8),
        ([-255, 0], 8),
        ([0, 0], 1),
    ],
)
def test_bits_of_a_weight(weights: list[int], bits: int) -> None:
    graph = net(("l", Linear(np.array([weights])), ("x",)), ("n", spiking(), ("l",)), x=(2,))
    over = [v for v in map_network(graph, LOIHI2).violations if v.what == "weight_bits"]
    assert [v.measured for v in over] == ([bits] if bits > 8 else [])
    one = limited(neurons=9, weight_bits=bits - 1)
    assert [v.measured for v in map_network(graph, one).violations if v.what == "weight_bits"] == [
        bits
    ]


def test_more_chips_than_allowed_is_a_violation() -> None:
    graph = net(("l", Linear(ones(300, 4)), ("x",)), ("n", spiking(), ("l",)), x=(4,))
    chip = limited(neurons=1, cores=100)
    assert map_network(graph, chip).chips == 3
    assert map_network(graph, chip).fits and map_network(graph, chip, chips=3).fits
    (v,) = map_network(graph, chip, chips=2).violations
    assert (v.where, v.what, v.measured, v.limit) == ("whole network", "chips", 3, 2)
    assert "stride" in v.remedy


@given(
    st.integers(1, 40), st.integers(0, 10), st.integers(1, 5), st.integers(1, 6),
    st.integers(1, 6), st.integers(30, 90), st.integers(8, 99), st.integers(200, 999),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_more_channels_or_rows_never_need_fewer_cores(
    channels: int, more: int, inputs: int, height: int, taller: int, axons: int, n: int, memory: int
) -> None:
    chip = limited(neurons=n, in_axons=axons, memory=memory)

    def cores(out: int, rows: int) -> int:
        conv = Conv2d(ones(out, inputs, 3, 3), None, (1, 1), (1, 1))
        graph = net(("c", conv, ("x",)), ("n", spiking(), ("c",)), x=(inputs, rows, 5))
        mapping = map_network(graph, chip)
        assert mapping.fits == (inputs * 9 <= axons or (rows < 3 and inputs * 3 * rows <= axons))
        return mapping.cores if mapping.fits else 0

    small = cores(channels, height)
    assert cores(channels + more, height) >= small
    taller_cores = cores(channels, height + taller)
    assert taller_cores >= small or taller_cores == 0  # 0: it no longer fits at all


def test_the_rule_passes_by_layer_and_fails_by_limit() -> None:
    graph, chip, *_ = VIOLATIONS["memory"]
    (f,) = check_resources(map_network(graph, chip))
    assert (f.rule.id, f.status, f.where) == ("PS013", "FAIL", "n")
    assert "240000" in f.measured and "196608" in f.limit and "fewer bits" in f.remedy
    graph, chip, *_ = VIOLATIONS["bias"]  # PS008's business
    assert {f.status for f in check_resources(map_network(graph, chip))} == {"PASS"}
    last = list(check_resources(map_network(graph, chip)))[-1]
    assert "estimate" in last.measured and "in_axons" in last.measured


def test_what_has_no_place_on_a_core_is_refused_by_name() -> None:
    half = net(("l", Linear(ones(2, 1, of=0.5)), ("x",)), ("n", spiking(), ("l",)), x=(1,))
    with pytest.raises(ResourceError, match="not whole"):
        map_network(half, LOIHI2)
    relu = net(("r", Relu(), ("x",)), ("f", Flatten(), ("r",)), ("n", spiking(), ("f",)))
    with pytest.raises(ResourceError, match="only spikes and synapses") as e:
        map_network(relu, LOIHI2)
    assert e.value.found == "Relu"


def test_every_value_of_a_chip_has_a_unit_and_a_source() -> None:
    for chip in CHIPS.values():
        assert all(v.unit and v.source for v in chip.values().values())
    assert LOIHI2.unpublished() == ("in_axons", "out_axons", "thresholds")
    assert LOIHI1.unpublished() == ()
    data = map_network(VIOLATIONS["bias"][0], LOIHI2).data()
    assert data["label"] == "estimate" and data["not_published"] == list(LOIHI2.unpublished())
    assert str(LOIHI2.in_axons) == "not published"
