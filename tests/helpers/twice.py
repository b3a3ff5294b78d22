"""A pytest plugin: whatever tests run on the interpreter, the cpu executor runs as well.

``python -m pytest -p helpers.twice FILES`` (tests/targets/test_cpu_everywhere.py does) compares the
spikes of every neuron and every output of each integer network, and says at the end how many. What
the executor has no form for (real numbers, 32 bits that do not do) is counted, not compared.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import numpy as np
import pytest

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir import interpret
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace
from purespike.compiler.ir.ops import Neuron
from purespike.judge.static import is_integer
from purespike.targets.cpu.run import run_cpu

SEEN: Counter[str] = Counter()
DIFFERENT: list[str] = []
_run = interpret.run


def run(graph: Graph, x: Any, **options: Any) -> Trace:
    """As `interpret.run`, which also gives the answer."""
    trace = _run(graph, x, **options)
    if not is_integer(graph) or options.get("watch") is not None:
        SEEN["without a form in integers"] += 1
        return trace
    try:
        found = run_cpu(graph, x, membranes=False)
    except PurespikeError:
        SEEN["refused by the executor"] += 1
        return trace
    SEEN["compared"] += 1
    for node in graph.nodes:
        if not isinstance(node.op, Neuron) and node.name not in graph.outputs:
            continue
        if node.name in trace.values and node.name in found.values:
            SEEN["values"] += found.values[node.name].size
            if not np.array_equal(trace.values[node.name], found.values[node.name]):
                where = os.environ.get("PYTEST_CURRENT_TEST", "")
                DIFFERENT.append(f"{where}: {node} of {len(graph.nodes)} nodes, T={graph.steps}")
    return trace


interpret.run = run  # before any test imports it


def pytest_sessionfinish(session: pytest.Session) -> None:
    if DIFFERENT:
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"twice: {dict(SEEN)}, different: {DIFFERENT}")
