"""Operations of a network as its paper counts them, from the captured graph.

The rules are those of syops-counter, with which the full-spike AAP paper and SEW ResNet count, but
decided by what an edge can carry (its proven domain), not by the values of one batch:

- A layer whose input is spikes costs AC = dense operations x time steps x firing rate of its input;
  any other layer costs MAC = dense operations x time steps.
- Dense operations are outputs x weights of one output: padding counts.
- A layer that reads the image itself runs once, because the image does not change; so does the
  classifier behind the mean over time.
- A neuron costs one AC per step. Batch normalizations are folded; gates, sums, pools are left out.
- A layer counts once, however many layers of neurons read what it delivers.

The census of a compiled network (:mod:`purespike.compiler.proofs.counts`) counts what a chip does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import (
    AttentionMix,
    AttentionScores,
    Conv2d,
    Linear,
    Neuron,
    TimeMean,
)

__all__ = ["LayerCount", "PaperCounts", "implied_rate", "layer_counts", "paper_counts"]


@dataclass(frozen=True)
class LayerCount:
    """One layer with weights, or one product of an attention.

    Attributes:
        name: of its node.
        source: of the edge it reads.
        dense: operations of one run if every input counts.
        runs: how often it runs for one sample.
        spikes: whether nothing but spikes can reach it.
    """

    name: str
    source: str
    dense: int
    runs: int
    spikes: bool


@dataclass(frozen=True)
class PaperCounts:
    """Operations for one sample, all time steps.

    Attributes:
        mac: multiply-accumulates.
        synaptic: accumulations if every input of every spiking layer fired at every step.
        updates: neuron updates, one AC each.
    """

    mac: int
    synaptic: int
    updates: int

    def ac(self, rate: float) -> float:
        """AC at a mean firing rate (spikes a neuron and step, weighted by fan-out)."""
        return self.synaptic * rate + self.updates

    def energy(self, rate: float) -> float:
        """Millijoules in 45 nm: 4.6 pJ a MAC and 0.9 pJ an AC (AAP paper, Eq. 7)."""
        return (4.6 * self.mac + 0.9 * self.ac(rate)) * 1e-9


def layer_counts(graph: Graph) -> tuple[LayerCount, ...]:
    """Count every layer of a captured graph, in order; auxiliary layers too if they are there."""
    once = _after_time(graph)
    images = {e.name for e in graph.inputs if not e.domain <= SPIKE}
    rows = []
    for node in graph.nodes:
        dense = _dense(graph, node)
        if dense is None:
            continue
        source = node.inputs[0]
        runs = 1 if source in once or source in images else graph.steps
        rows.append(LayerCount(node.name, source, dense, runs, graph.edge(source).domain <= SPIKE))
    return tuple(rows)


def paper_counts(graph: Graph, rates: Mapping[str, float] | None = None) -> PaperCounts:
    """Sum up the layers.

    Args:
        graph: a captured graph, without auxiliary paths unless they are to be counted.
        rates: firing rate of each layer's input by edge name; then ``synaptic`` is what really
            happens, and ``ac(1.0)`` the total. None counts every input as firing.
    """
    rows = layer_counts(graph)
    mac = sum(row.dense * row.runs for row in rows if not row.spikes)
    spiking = [row for row in rows if row.spikes]
    synaptic = sum(
        row.dense * row.runs * (1.0 if rates is None else rates[row.source]) for row in spiking
    )
    updates = sum(
        int(np.prod(node.output.shape)) * graph.steps
        for node in graph.nodes
        if isinstance(node.op, Neuron) and node.op.fires
    )
    return PaperCounts(mac, round(synaptic), updates)


def implied_rate(counts: PaperCounts, ac: float) -> float:
    """The mean firing rate at which a network has that many AC."""
    return (ac - counts.updates) / counts.synaptic


def _dense(graph: Graph, node: Node) -> int | None:
    size = int(np.prod(node.output.shape))
    if isinstance(node.op, Conv2d | Linear):
        return size * int(node.op.weight[0].size)
    if isinstance(node.op, AttentionScores | AttentionMix):
        channels, height, width = graph.edge(node.inputs[1]).shape
        return channels * (height * width) ** 2
    return None


def _after_time(graph: Graph) -> set[str]:
    """Edges behind a mean over time: they have one value per sample."""
    behind: set[str] = set()
    for node in graph.nodes:
        if isinstance(node.op, TimeMean) or behind.intersection(node.inputs):
            behind.add(node.name)
    return behind
