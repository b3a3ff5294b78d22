"""The same run as other tools count it, side by side with the exact census, and why they differ.

Written from the published rules of syops-counter 0.0.5 (``syops/ops.py``) and NeuroBench 2.3
(``metrics/workload/synaptic_operations.py``), so that a reader of their tables can find our network
in them. Both look at values of one run and at whole layers; the census looks at proven domains.

syops-counter, at each call of a layer: dense operations ``W`` (bias included), rate ``r`` of the
input tensor; AC = W r if the tensor has at most two values, all in [0, 1], else MAC = W. A neuron
is one AC per step. Averaged over samples.

NeuroBench, effective: products of non-zero weights with non-zero inputs; AC if the input tensor has
values -1, 0, 1 only (all zeros too), else MAC. Biases and neurons are left out.

Both count a layer once each time its module is called, however many layers of neurons read what it
delivers; the census counts the synapses that then stand on a chip.

AAP paper (Chen et al.), Eq. 7: the computation cost ``C = E_MAC O_MAC + E_AC O_AC`` of what was
counted (its column DC); Eq. 15 bounds it for any firing rate r: ``EC(r) = E_MAC O_MAC + r E_AC T
O_syn`` (its column EC, reported at r = 0 and r = 1); Eq. 6: the share of the same network's energy
with real-valued activations, ``T r E_AC / E_MAC``. The operations in them are those of the census,
so a shared current counts for each layer of neurons that reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.interpret import Trace
from purespike.compiler.ir.ops import SYNAPSES, Conv2d, Linear, Neuron
from purespike.compiler.proofs.counts import Counts, connections, met, spikes_by_step
from purespike.compiler.proofs.currents import find_currents
from purespike.compiler.rules.energy import TABLES

WHY = {
    "syops-counter 0.0.5": (
        "border: every output counts a full kernel, so the padding counts, times the input's rate; "
        "bias: counted with the weights, times the rate; neurons: one AC a neuron and step; "
        "spikes: a tensor with at most two values in [0, 1] passes, whatever they are, and one "
        "other value turns the whole layer into MAC; one-to-one synapses: functional, not seen; "
        "a layer whose current several neuron layers read: once, as the module is called once"
    ),
    "NeuroBench": (
        "weights: zero weights do not count; ternary and all-zero inputs count as AC; biases, "
        "neurons and one-to-one synapses: left out; a layer whose current several neuron layers "
        "read: once, as the module is called once"
    ),
}


@dataclass(frozen=True)
class Column:
    """One layer as one tool counts it, a sample, all steps."""

    ac: float = 0.0
    mac: float = 0.0

    def __add__(self, other: Column) -> Column:
        return Column(self.ac + other.ac, self.mac + other.mac)


@dataclass
class Tally:
    """Adds up batches; both tools decide layer by layer on what a batch carried.

    Attributes:
        syops: By node, summed over samples.
        neurobench: Likewise.
        samples: So far.
    """

    syops: dict[str, Column] = field(default_factory=dict)
    neurobench: dict[str, Column] = field(default_factory=dict)
    samples: int = 0

    def add(self, graph: Graph, trace: Trace) -> None:
        """Count one batch, whose trace holds every edge."""
        batch = 0
        for node in graph.nodes:
            if node.role == "host" or not isinstance(node.op, (*SYNAPSES, Neuron)):
                continue
            # A neuron's own output has its steps and samples, which is all that is asked of it.
            x = trace.values[node.name if isinstance(node.op, Neuron) else node.inputs[0]]
            batch = x.shape[1]
            for column, rule in ((self.syops, syops_layer), (self.neurobench, neurobench_layer)):
                column[node.name] = column.get(node.name, Column()) + rule(node, x)
        self.samples += batch

    def data(self, census: Mapping[str, Counts]) -> dict[str, Any]:
        """Per layer and in all, a sample, beside the exact counts; JSON-ready."""

        def one(name: str) -> dict[str, dict[str, float]]:
            exact = census[name]
            return {"purespike": {"ac": float(exact.ac), "mac": float(exact.mac)}} | {
                tool: {"ac": c[name].ac / self.samples, "mac": c[name].mac / self.samples}
                for tool, c in zip(WHY, (self.syops, self.neurobench), strict=True)
            }

        layers = {name: one(name) for name in self.syops}
        tools = ("purespike", *WHY)
        return {
            "unit": "operations per sample, averaged over the samples that ran",
            "total": {
                tool: {
                    kind: sum(layer[tool][kind] for layer in layers.values())
                    for kind in ("ac", "mac")
                }
                for tool in tools
            },
            "layers": [{"name": name, **columns} for name, columns in layers.items()],
            "why": dict(WHY),
        }


def syops_layer(node: Node, x: Array) -> Column:
    """What syops-counter's rules give for one layer on inputs (T, B, ...), over all samples.

    One call a step: each is judged by its own values, and a linear layer's bias counts once a call.
    """
    op, batch = node.op, x.shape[1]
    size = float(np.prod(node.output.shape)) * batch
    if isinstance(op, Neuron):
        return Column(ac=size * len(x) if op.fires else 0.0)
    if not isinstance(op, Conv2d | Linear):
        return Column()
    bias = 0.0 if op.bias is None else size / (batch if isinstance(op, Linear) else 1)
    inputs = op.shape[1] if isinstance(op, Linear) else op.weight[0].size
    dense = size * inputs + bias
    total = Column()
    if x.dtype.itemsize == 1:  # spikes, a byte each
        for count in spikes_by_step(x):
            total += Column(ac=dense * float(count / x[0].size))
        return total
    for now in x:
        spikes = len(np.unique(now)) <= 2 and now.min() >= 0 and now.max() <= 1
        total += Column(ac=dense * float(now.mean())) if spikes else Column(mac=dense)
    return total


def neurobench_layer(node: Node, x: Array) -> Column:
    """What NeuroBench's rules give for one layer on inputs (T, B, ...), over all samples."""
    op = node.op
    if not isinstance(op, Conv2d | Linear):
        return Column()
    work = met(x if x.dtype.itemsize == 1 else (x != 0).view(np.uint8), _fan_out(op, x.shape[2:]))
    total = Column()
    for now, each in zip(x, work.sum(axis=1), strict=True):
        binary = x.dtype.itemsize == 1 or bool(((now == 0) | (np.abs(now) == 1)).all())
        total += Column(ac=float(each)) if binary else Column(mac=float(each))
    return total


def _fan_out(op: Conv2d | Linear, shape: tuple[int, ...]) -> Array:
    """How many non-zero weights each input value meets."""
    if isinstance(op, Linear):
        fan: Array = op.spread((op.kept != 0).sum(axis=0, dtype=np.float64)[None])[0]
        return fan
    out, inner, kh, kw = op.weight.shape
    by_group = (op.weight != 0).reshape(op.groups, out // op.groups, inner, kh, kw)
    taps = by_group.sum(axis=1, dtype=np.float64).reshape(-1, kh, kw)  # (in, kH, kW)
    height, width = (
        _reads(size, k, s, p, d)
        for size, k, s, p, d in zip(
            shape[1:], (kh, kw), op.stride, op.padding, op.dilation, strict=True
        )
    )
    met_by: Array = np.einsum("cyx,yh,xw->chw", taps, height, width, optimize=True)
    return met_by


def _reads(size: int, kernel: int, stride: int, padding: int, dilation: int) -> Array:
    """Along one axis: how many windows read each position with each tap (tap, position)."""
    outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    reads = np.zeros((kernel, size))
    for tap in range(kernel):
        places = np.arange(outputs) * stride + tap * dilation - padding
        np.add.at(reads[tap], places[(places >= 0) & (places < size)], 1)
    return reads


def aap_cost(graph: Graph, census: Mapping[str, Counts]) -> dict[str, Any]:
    """The AAP paper's DC (Eq. 7), EC (Eq. 15) and ratio (Eq. 6), in nJ per sample, 45 nm float.

    Args:
        graph: The graph that was judged; what runs on the host counts too, as in the paper.
        census: Exact counts a sample by node.
    """
    table = TABLES[0]
    nodes = [n for n in graph.nodes if isinstance(n.op, SYNAPSES)]
    mac = float(sum(census[n.name].mac for n in nodes))
    ac = float(sum(census[n.name].ac for n in nodes))
    spiking = [n for n in nodes if not census[n.name].mac]
    arrays = find_currents(graph).arrays
    synapses = sum(connections(graph, n) * arrays[n.name] for n in spiking)
    dense = float(graph.steps * synapses)  # T * O_syn
    rate = ac / dense if dense else None  # nothing but numbers reaches its synapses
    fixed = table.mac * mac
    return {
        "dc_nanojoule": (fixed + table.ac * ac) / 1000,
        "ec_nanojoule": [fixed / 1000, (fixed + table.ac * dense) / 1000],
        "snn_to_ann": None if rate is None else graph.steps * rate * table.ac / table.mac,
        "firing_rate": rate,
        "source": "full-spike AAP paper, Eq. 6, 7 and 15; " + table.source,
    }
