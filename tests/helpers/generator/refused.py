"""Random networks that must be refused, each with one fault, and operations that no graph takes.

A fault is drawn, and a random network in front of it. `Refused.attempt` then builds and compiles
it, and must raise an error of the kind that it names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from helpers.generator import faults, misfits
from helpers.generator.blocks import plain
from helpers.generator.writer import Writer
from purespike.compiler.ir.graph import Graph
from purespike.compiler.pipeline import compile_graph, standard_pipeline

Fault = Callable[[Writer, str], Any]


@dataclass(frozen=True)
class Refused:
    """One that must be refused.

    Attributes:
        fault: What is wrong, by the name of the function that made it.
        rule: The rule that the error must name.
        attempt: Raises it.
    """

    fault: str
    rule: str
    attempt: Callable[[], object]


# By rule: faults of a network that can be built, and what cannot even be built.
FAULTS: tuple[tuple[str, Fault], ...] = (
    *(("PS003", f) for f in faults.AUXILIARY),
    *(("PS004", f) for f in faults.OPERATIONS),
    *(("PS008", f) for f in faults.INTEGERS),
    *(("PS001", f) for f in faults.COUNTS),
    *(("PS006", f) for f in faults.WIDTHS),
    *(("PS011", f) for f in faults.HOST),
    *(("PS001", f) for f in faults.HOST_COUNTS),
    *(("PS004", f) for f in misfits.MISFITS),
)
HOST = (*faults.HOST, *faults.HOST_COUNTS)  # of networks with an analog input


def refused(seed: int) -> Refused:
    """Number ``seed``, always the same; faults take turns."""
    rng = np.random.default_rng([seed, 4])
    rule, fault = FAULTS[seed % len(FAULTS)]
    steps = 3 if fault in (*faults.COUNTS, *faults.STEPS) else 0

    def attempt() -> object:
        w = Writer(rng, directed=True, host=fault in HOST, steps=steps)
        last = plain(w, "x") if fault not in HOST and w.chance(0.5) else "x"
        return _compiled(w, **(fault(w, last) or {}))

    return Refused(fault.__name__, rule, attempt)


def _compiled(w: Writer, then: Callable[[Graph], Any] | None = None, **options: Any) -> Any:
    """Compile it; some compile, and are refused by what comes ``then``."""
    last = w.graph.nodes[-1]
    mains = () if last.role == "auxiliary" else (last.name,)
    outputs = tuple(dict.fromkeys((*mains, *w.kept, *w.auxiliary)))
    graph = replace(w.graph, outputs=outputs)
    result = compile_graph(graph, standard_pipeline(**options), w.values["x"])
    return result if then is None else then(result.graph)
