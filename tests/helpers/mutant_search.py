"""Does the comparison that is in charge of a mutant notice it on a random network?"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from helpers.mutants import Mutant
from helpers.random_graphs import (
    Sample,
    captured,
    compiled,
    difference,
    executor_alarms,
    integer,
    pass_alarms,
)
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace, run


@functools.cache
def sample(kind: str, seed: int, directed: bool) -> Sample:
    make = captured if kind == "captured" else integer
    return make(seed, directed=directed)


@functools.cache
def executed(kind: str, seed: int, directed: bool) -> tuple[Graph, np.ndarray, Trace]:
    """The integer graph of a network and what the unmutated interpreter makes of it.

    The executors agree with it (`test_control...` and `test_random_graphs`), so a mutant of the
    interpreter differs from them exactly where it differs from this.
    """
    s = sample(kind, seed, directed)
    graph = s.graph if kind == "integer" else compiled(s).graph
    return graph, s.x, run(graph, s.x)


def networks(count: int) -> Iterator[tuple[str, int]]:
    """Networks in integers first: they hold the saturations, drifts and extreme leaks."""
    for seed in range(count):
        yield "integer", seed
        yield "captured", seed


def noticed(mutant: Mutant, kind: str, seed: int, directed: bool = True) -> bool:
    """Does the comparison that has to notice the mutant notice it on one network?"""
    if mutant.seen_by == "passes":
        if kind == "integer":
            return False
        s = sample(kind, seed, directed)
        with mutant.patch():
            try:
                result = compiled(s)
            except PurespikeError:
                return True
            return any(pass_alarms(s, result))
    graph, x, expected = executed(kind, seed, directed)
    emitter = mutant.where.startswith("targets/")
    with mutant.patch():
        if emitter:
            return any(executor_alarms(graph, x, expected))
        try:
            return difference(expected, run(graph, x), graph) != ""
        except PurespikeError:  # a value outside its domain
            return True
