"""An input on which a wrong value comes up: the counterexample to "every synapse receives spikes".

The domains are proved on the graph, so a violation is certain only once a run shows it. The search
runs the interpreter on inputs that reach far (all on, all off, many rates) and then on variations
of those that made most neurons fire; what it finds is made smaller, so that people can follow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import ANALOG, SPIKE, Array, Domain
from purespike.compiler.ir.graph import Edge, Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.proofs.counts import dense_census, total_counts

ROUND = 16  # inputs that run together
WORK = 4e9  # operations that one search may cost; large networks get fewer tries for it
SHOWN = 1000  # input values that a report prints
Inputs = dict[str, Array]


@dataclass(frozen=True, eq=False)
class Witness:
    """A run that carries a value outside the wanted domain.

    Attributes:
        edge: Where.
        inputs: What to feed each input of the graph: (T, *shape), one sample.
        step: At which time step, from 0.
        index: At which place of the edge.
        value: What it carries there.
    """

    edge: str
    inputs: Mapping[str, Array]
    step: int
    index: tuple[int, ...]
    value: float

    def __str__(self) -> str:
        sent = sum(int(np.count_nonzero(x)) for x in self.inputs.values())
        at = ", ".join(map(str, self.index))
        values = f"{sent} non-zero input value{'' if sent == 1 else 's'}"
        return f"{self.value:g} at step {self.step}, index ({at}), from {values}"

    def data(self) -> dict[str, Any]:
        """As JSON-ready data: the input as [step, ..., value] for each value that is not 0."""

        def sparse(x: Array) -> dict[str, Any]:
            at = np.argwhere(x != 0)
            rows = [[*map(int, k), float(x[tuple(k)])] for k in at[:SHOWN]]
            return {"shape": list(x.shape), "nonzero": len(at), "values": rows}

        return {
            "edge": self.edge,
            "step": self.step,
            "index": list(self.index),
            "value": self.value,
            "inputs": {name: sparse(x) for name, x in self.inputs.items()},
        }


@dataclass(frozen=True)
class Search:
    """What a search found, by edge, and how many inputs it ran."""

    found: Mapping[str, Witness]
    tries: int


def find_witness(
    graph: Graph, edge: str, *, wanted: Domain = SPIKE, seed: int = 0, budget: int = 256
) -> Witness | None:
    """A run on which ``edge`` leaves ``wanted``; None if no such run was found."""
    return find_witnesses(graph, [edge], wanted=wanted, seed=seed, budget=budget).found.get(edge)


def find_witnesses(
    graph: Graph,
    edges: Iterable[str],
    *,
    wanted: Domain = SPIKE,
    seed: int = 0,
    budget: int = 256,
) -> Search:
    """One search for a witness on each of several edges.

    Args:
        graph: Any graph whose ops fit together.
        edges: Where to look.
        wanted: The domain whose violation is looked for.
        seed: The same seed finds the same witnesses.
        budget: Inputs to run at most, before those that make a witness smaller.
    """
    targets = list(dict.fromkeys(edges))
    part = _slice(graph, targets)
    rng = np.random.default_rng(seed)
    budget = max(2, min(budget, int(WORK / max(1.0, _work(part)))))
    found: dict[str, Witness] = {}
    tries, best = 0, [_constant(part, 1.0)]
    firing = [n.name for n in part.nodes if isinstance(n.op, Neuron) and n.op.fires]
    while tries < budget and len(found) < len(targets):
        count = min(ROUND, budget - tries)
        if tries == 0:
            trials = [_constant(part, 1.0), _constant(part, 0.0)]
            trials += [_random(part, rng) for _ in range(count - 2)]
        else:
            trials = [
                _mutated(part, best[k % len(best)], rng) if k % 2 else _random(part, rng)
                for k in range(count)
            ]
        left = [name for name in targets if name not in found]
        values = _run(part, trials, [*left, *firing])
        tries += len(trials)
        for name in left:
            if witness := _first(part, trials, name, values[name], wanted):
                found[name] = witness
        # Those that make most layers fire, each layer counting the same.
        score = sum((_means(values[n]) for n in firing), start=np.zeros(len(trials)))
        best = [trials[k] for k in np.argsort(-score, kind="stable")[:4]]
    rounds = int(min(40, budget / 4)) // max(1, len(found))
    small = {n: _smaller(_slice(graph, [n]), w, wanted, rounds) for n, w in found.items()}
    return Search(small, tries)


def _slice(graph: Graph, names: list[str]) -> Graph:
    """What the edges depend on, in a form that runs whatever values come up."""
    kept = graph.ancestors(names)
    nodes = (
        replace(n, output=Edge(n.name, n.output.shape, ANALOG))
        for n in graph.nodes
        if n.name in kept
    )
    inputs = tuple(e for e in graph.inputs if e.name in kept) or graph.inputs
    return replace(graph, inputs=inputs, nodes=tuple(nodes), outputs=tuple(names))


def _work(graph: Graph) -> float:
    """Operations of one sample, and the values it moves."""
    counts = total_counts(dense_census(graph).values())
    moved = sum(float(np.prod(e.shape)) for e in graph.edges())
    return graph.steps * (counts.ac + counts.mac + moved)


def _run(graph: Graph, trials: list[Inputs], names: list[str]) -> Mapping[str, Array]:
    batch = {e.name: np.stack([t[e.name] for t in trials], axis=1) for e in graph.inputs}
    return run(graph, batch, record=set(names)).values


def _means(values: Array) -> Array:
    """The mean of each sample of (T, B, *shape)."""
    means: Array = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1).mean(axis=1)
    return means


def _outside(values: Array, wanted: Domain) -> NDArray[np.bool_]:
    """Which values the domain does not hold, elementwise, by the rules of `Domain.holds`."""
    distinct, places = np.unique(values, return_inverse=True)
    wrong = np.array([not wanted.holds(np.array([v])) for v in distinct])
    flags: NDArray[np.bool_] = wrong[places].reshape(values.shape)
    return flags


def _first(
    graph: Graph, trials: list[Inputs], name: str, values: Array, wanted: Domain
) -> Witness | None:
    """The earliest wrong value of all trials."""
    if wanted.holds(values):
        return None
    at = tuple(int(k) for k in np.argwhere(_outside(values, wanted))[0])
    step, sample, *index = at
    inputs = {k: x.copy() for k, x in trials[sample].items()}
    for edge in graph.inputs:  # what comes later has no part in it
        inputs[edge.name][step + 1 :] = _rest(edge.domain)
    return Witness(name, inputs, step, tuple(index), float(values[at]))


def _rest(domain: Domain) -> float:
    """Zero, or the value next to it."""
    return 0.0 if Domain(0, 0, 1) <= domain else float(np.clip(0.0, *_ends(domain)))


def _ends(domain: Domain) -> tuple[float, float]:
    """Finite ends to search between."""
    span = 8.0 * (domain.step or 1.0)
    lo = domain.lo if np.isfinite(domain.lo) else min(domain.hi, span) - 2 * span
    hi = domain.hi if np.isfinite(domain.hi) else lo + 2 * span
    if domain.step and not np.isfinite(domain.lo):
        lo = domain.step * np.ceil(lo / domain.step)
    return float(lo), float(hi)


def _on_grid(domain: Domain, x: Array) -> Array:
    lo, hi = _ends(domain)
    if not domain.step:
        return np.clip(x, lo, hi)
    steps = np.floor((hi - lo) / domain.step + 1e-9)
    return np.asarray(lo + domain.step * np.clip(np.rint((x - lo) / domain.step), 0, steps))


def _constant(graph: Graph, share: float) -> Inputs:
    """Every input at the same place between its ends."""

    def fill(edge: Edge) -> Array:
        lo, hi = _ends(edge.domain)
        return _on_grid(edge.domain, np.full((graph.steps, *edge.shape), lo + share * (hi - lo)))

    return {e.name: fill(e) for e in graph.inputs}


def _random(graph: Graph, rng: np.random.Generator) -> Inputs:
    """Ends only, or values between, each sample at a rate of its own."""

    def draw(edge: Edge) -> Array:
        lo, hi = _ends(edge.domain)
        shape = (graph.steps, *edge.shape)
        high = rng.random(shape) < rng.choice([0.05, 0.2, 0.5, 0.8, 0.95])
        x = np.where(high, hi, lo)
        if rng.random() < 0.3:
            x = lo + (hi - lo) * rng.random(shape)
        return _on_grid(edge.domain, x)

    return {e.name: draw(e) for e in graph.inputs}


def _mutated(graph: Graph, inputs: Inputs, rng: np.random.Generator) -> Inputs:
    """Some values of one input exchanged for random ones."""
    fresh = _random(graph, rng)
    share = rng.choice([0.02, 0.1, 0.3])
    return {n: np.where(rng.random(x.shape) < share, fresh[n], x) for n, x in inputs.items()}


def _smaller(graph: Graph, witness: Witness, wanted: Domain, rounds: int) -> Witness:
    """The same fault from fewer input values: blocks are put to rest as long as it stays.

    Source: Zeller & Hildebrandt, "Simplifying and isolating failure-inducing input", 2002 (ddmin).
    """
    size = 0
    for _ in range(rounds):
        places = [
            (e.name, k)
            for e in graph.inputs
            for k in np.flatnonzero(witness.inputs[e.name] != _rest(e.domain))
        ]
        if not places:
            break
        size = min(size or (len(places) + 1) // 2, len(places))
        blocks = [places[k : k + size] for k in range(0, len(places), size)]
        again = None
        for start in range(0, len(blocks), ROUND):
            trials = [_without(graph, witness, b) for b in blocks[start : start + ROUND]]
            values = _run(graph, trials, [witness.edge])[witness.edge]
            if again := _first(graph, trials, witness.edge, values, wanted):
                break
        if again:
            witness = again
        elif size == 1:
            break
        else:
            size = (size + 1) // 2
    return witness


def _without(graph: Graph, witness: Witness, block: list[tuple[str, Any]]) -> Inputs:
    inputs = {n: x.copy() for n, x in witness.inputs.items()}
    rests = {e.name: _rest(e.domain) for e in graph.inputs}
    for name, k in block:
        inputs[name].flat[k] = rests[name]
    return inputs
