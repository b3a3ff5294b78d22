"""Is a NIR graph spike-only? Decided from its nodes and edges, and from nothing else.

Abstract interpretation (Cousot & Cousot, 1977): every node starts with the zero that it sends
before the first step, and takes in what can reach it until nothing changes. In loops, what still
grows after some rounds is taken to grow without end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from purespike.compiler.checker.meaning import (
    CARRIERS,
    FIRING,
    INTEGRATORS,
    KNOWN,
    SYNAPSES,
    Fields,
    multiplies,
    sends,
)
from purespike.compiler.checker.statement import Statement
from purespike.compiler.checker.values import ANYTHING, ZERO, Values, total

Kind = Literal["input", "synapse", "operation", "leak", "gain", "unknown"]
PATIENCE = 8  # changes of one node before its growth is taken to be endless
NEURONS = (*FIRING, *INTEGRATORS)


@dataclass(frozen=True)
class Problem:
    """Something that keeps a network from being spike-only.

    Attributes:
        kind: ``synapse``: receives what is not proved to be 0 or 1. ``leak``, ``gain``: a
            multiplication in every step. ``operation``: a node, or a reader of a node, that has no
            place on a chip. ``input``: not declared as spikes. ``unknown``: not understood.
        node: Its name in the file.
        why: What was found.
    """

    kind: Kind
    node: str
    why: str


@dataclass(frozen=True)
class Verdict:
    """What the file alone says.

    Attributes:
        problems: All of them; empty if the network is spike-only.
        synapses: Synapses on the chip.
        neurons: Neurons on the chip.
        values: What each node can send.
    """

    problems: tuple[Problem, ...]
    synapses: int
    neurons: int
    values: Mapping[str, Values]

    def judged(self, *, leak_multiplies: bool) -> tuple[Problem, ...]:
        """The problems that count where a policy may allow the multiplication of a leak."""
        return tuple(p for p in self.problems if p.kind != "leak" or not leak_multiplies)


def inspect(
    nodes: Mapping[str, Fields], edges: tuple[tuple[str, str], ...], stated: Statement
) -> Verdict:
    """Judge a flat NIR graph.

    Args:
        nodes: By name: the field ``type`` and the fields of that type.
        edges: Pairs of names.
        stated: What no file can prove.
    """
    reads: dict[str, list[str]] = {}
    feeds: dict[str, list[str]] = {}
    for a, b in edges:
        reads.setdefault(b, []).append(a)
        feeds.setdefault(a, []).append(b)
    graph = _Graph(nodes, reads, feeds, stated)
    values = graph.flow()
    problems = [p for name in nodes for p in graph.problems(name, values)]
    chip = [str(f.get("type")) for name, f in nodes.items() if name not in stated.host]
    return Verdict(
        tuple(problems),
        sum(kind in SYNAPSES for kind in chip),
        sum(kind in NEURONS for kind in chip),
        values,
    )


@dataclass(frozen=True)
class _Graph:
    nodes: Mapping[str, Fields]
    reads: Mapping[str, list[str]]
    feeds: Mapping[str, list[str]]
    stated: Statement

    def kind(self, name: str) -> str:
        return str(self.nodes[name].get("type")) if name in self.nodes else "missing node"

    def before(self, name: str) -> list[str]:
        return self.reads.get(name, [])

    def after(self, name: str) -> list[str]:
        return self.feeds.get(name, [])

    def flow(self) -> dict[str, Values]:
        """What every node can send: a fixed point."""
        values = dict.fromkeys(self.nodes, ZERO)
        changes = dict.fromkeys(self.nodes, 0)
        todo = dict.fromkeys(self.nodes)
        while todo:
            name = next(iter(todo))
            del todo[name]
            new = values[name] | self._sent(
                name, [values.get(a, ANYTHING) for a in self.before(name)]
            )
            if new == values[name]:
                continue
            changes[name] += 1
            values[name] = _widened(values[name], new) if changes[name] > PATIENCE else new
            todo |= dict.fromkeys(b for b in self.after(name) if b in values)
        return values

    def _sent(self, name: str, reads: list[Values]) -> Values:
        if self.kind(name) == "Input":
            return self.stated.input(name)
        if not reads:  # fed by nothing: whatever a reader of the file puts in
            return ANYTHING
        try:
            return sends(self.nodes[name], total(reads))
        except (KeyError, TypeError, ValueError, IndexError):
            return ANYTHING

    def problems(self, name: str, values: Mapping[str, Values]) -> Iterator[Problem]:
        kind, reads = self.kind(name), self.before(name)
        if name in self.stated.host:
            for a in reads:
                if a not in self.stated.host and self.kind(a) != "Input":
                    yield Problem("operation", name, f"runs on the host and reads {a} of the chip")
            return
        if kind not in KNOWN:
            yield Problem("unknown", name, f"a node of type {kind}")
            return
        if kind == "Input":
            yield from self._input(name)
            return
        if not reads or any(a not in self.nodes for a in reads):
            yield Problem("unknown", name, f"reads {', '.join(reads) or 'nothing'}")
            return
        got = total([values[a] for a in reads])
        if kind in SYNAPSES and not got.spikes:
            found = f"{got}, from " + ", ".join(f"{a} ({self.kind(a)})" for a in reads)
            yield Problem("synapse", name, found)
        if fault := self._fault(name, kind, reads):
            yield Problem("operation", name, fault)
        if kind in NEURONS:
            try:
                for what, found in multiplies(self.nodes[name], self.stated).items():
                    yield Problem("leak" if what == "leak" else "gain", name, found)
            except (KeyError, TypeError, ValueError) as e:
                yield Problem("unknown", name, f"its parameters cannot be read: {e}")

    def _input(self, name: str) -> Iterator[Problem]:
        carried = self.stated.input(name)
        on_chip = [b for b in self.after(name) if b not in self.stated.host]
        if on_chip and not carried.spikes:
            yield Problem(
                "input", name, f"carries {carried}, and {on_chip[0]} on the chip reads it"
            )

    def _fault(self, name: str, kind: str, reads: list[str]) -> str:
        """A current exists between a synapse and a neuron, where it is summed; nowhere else."""
        currents = [a for a in reads if self.kind(a) in SYNAPSES and a not in self.stated.host]
        if kind == "AvgPool2d":
            return "averages"
        if kind in NEURONS:
            other = [a for a in reads if a not in currents]
            if other and not self._half(name, kind, reads):
                return f"reads no current: {other[0]} ({self.kind(other[0])})"
        elif kind in (*CARRIERS, "Output"):
            if currents:
                return f"reads a current: {currents[0]}"
            if len(reads) > 1:
                return f"reads a sum of {', '.join(reads)}"
        return ""

    def _half(self, name: str, kind: str, reads: list[str]) -> bool:
        """The Threshold of a soft reset in plain nodes: I or LI -> Threshold -> Scale -> back."""
        if kind != "Threshold" or len(reads) != 1 or reads[0] in self.stated.host:
            return False
        membrane = reads[0]
        resets = [a for a in self.before(membrane) if self.before(a) == [name]]
        return (
            self.kind(membrane) in INTEGRATORS
            and self.after(membrane) == [name]
            and any(self.kind(a) == "Scale" for a in resets)
        )


def _widened(old: Values, new: Values) -> Values:
    return Values(
        -math.inf if new.lo < old.lo else new.lo,
        math.inf if new.hi > old.hi else new.hi,
        0.0 if new.grid != old.grid else new.grid,
        new.fired,
    )
