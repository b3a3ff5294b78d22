"""Graphs for the tests of the passes: built from triples, compared as printed text and by a run."""

from __future__ import annotations

from textwrap import dedent

import numpy as np

from helpers.strategies import spikes
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, Op, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.verify import verify

IMAGE = Edge("x", (1, 4, 4), SPIKE)


def graph_of(
    nodes: list[tuple[str, Op, tuple[str, ...]]],
    *outputs: str,
    x: Edge = IMAGE,
    steps: int = 3,
) -> Graph:
    """A graph with the input ``x``; by default the last node is the output."""
    return build((x,), nodes, outputs or (nodes[-1][0],), steps)


def assert_printed(graph: Graph, expected: str) -> None:
    """The body of the printed graph, without its braces."""
    lines = [line.strip() for line in str(graph).splitlines()[1:]]
    wanted = [line.strip() for line in dedent(expected).strip().splitlines()]
    assert lines == wanted, "\n" + "\n".join(lines)


def assert_same_outputs(before: Graph, after: Graph, tolerance: float = 0.0) -> None:
    """Spikes at every step, numbers at the last one."""
    verify(before)
    verify(after)
    for seed in range(3):
        x = spikes(before, 4, seed)
        a, b = run(before, x), run(after, x)
        assert len(before.outputs) == len(after.outputs)
        for old, new in zip(before.outputs, after.outputs, strict=True):
            u, v = a.values[old], b.values[new]
            if before.edge(old).domain <= SPIKE:
                np.testing.assert_array_equal(u, v)
            else:
                np.testing.assert_allclose(u[-1], v[-1], rtol=0, atol=tolerance)
