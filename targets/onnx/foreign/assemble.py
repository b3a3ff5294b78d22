"""The graph of a step that was understood: nodes of its layers and neurons, joined by edges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.compiler.ir.forms import ONE, Form, Monomial, Real, Spike, atom, ratio
from purespike.compiler.ir.graph import Edge, Graph, Node, Op, Shape
from purespike.compiler.ir.logic import gate_of
from purespike.compiler.ir.ops import Add, Delay, Gate, Scale
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.biases import shifted
from purespike.targets.onnx.foreign.cells import Cell
from purespike.targets.onnx.foreign.naming import clean, fresh


@dataclass
class Assembly:
    """Nodes while they are joined.

    Attributes:
        data: The input.
        layers: What each layer takes.
        cells: The neurons.
        handed: States that are spikes or a layer's result of the step before: their next value.
        gates: Logic of spikes.
    """

    data: Real
    layers: Mapping[Real, Form]
    cells: Sequence[Cell]
    handed: Mapping[Real, Form]
    gates: Sequence[Spike]
    nodes: list[Node] = field(default_factory=list)
    _edges: dict[tuple[object, ...], str] = field(default_factory=dict)
    _shapes: dict[str, Shape] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)
    _delays: list[tuple[str, Form]] = field(default_factory=list)

    def graph(self, outputs: Sequence[Form], steps: int, dt: float, domain: Domain) -> Graph:
        """The graph whose outputs carry these values.

        Raises:
            OnnxError: If a value is none that an edge can carry.
        """
        name = fresh(clean(self.data.name) or "x", self._names)
        self._shapes[name] = self.data.shape
        self._edges[self._key(self.data)] = name
        for cell in self.cells:
            if cell.spike and cell.before:
                spikes = atom(cell.spike, cell.spike.gap.shape)
                self._late(f"{self._title(cell)}.before", cell.before, spikes)
        for real, value in self.handed.items():
            self._late(clean(real.name) or "before", real, value)
        for part in self._ordered():
            if isinstance(part, Cell):
                self._neuron(part)
            elif isinstance(part, Real):
                self._layer(part)
            else:
                self._gate(part)
        made = tuple(dict.fromkeys(self.edge(f) for f in outputs))
        delays = [
            Node(Delay(1), (self.edge(spikes),), Edge(late, self._shapes[late], SPIKE))
            for late, spikes in self._delays
        ]
        inputs = (Edge(name, self.data.shape, domain),)
        graph = Graph(inputs, (), made, steps, dt).rebuilt([*delays, *self.nodes])
        needed = graph.ancestors(made)
        graph = graph.rebuilt(n for n in graph.nodes if n.name in needed)
        for _ in self._delays:  # each hands on a type that was not known before
            graph = graph.rebuilt(graph.nodes)
        return graph

    def sinks(self) -> list[Form]:
        """What neurons send and no layer and no neuron takes."""
        taken = {a for f in self.layers.values() for a in f.atoms()}
        taken |= {a for c in self.cells for a in c.current.atoms()}
        inner = {r for c in self.cells for r in c.update.reals() if r is not c.state}
        ends = [c for c in self.cells if c.spike not in taken and c.state not in inner]
        return [c.update if c.spike is None else atom(c.spike, c.state.shape) for c in ends]

    # ---- order --------------------------------------------------------------------------------

    def _ordered(self) -> Iterator[Cell | Real | Spike]:
        """Neurons, layers and gates, each behind what it takes."""
        maker: dict[Real | Spike, Cell | Real | Spike] = {c.spike: c for c in self.cells if c.spike}
        readouts = [c for c in self.cells if c.spike is None]
        sorter: TopologicalSorter[Cell | Real | Spike] = TopologicalSorter()
        parts: list[Cell | Real | Spike] = [*self.cells, *self.layers, *self.gates]
        known = set(parts)
        for part in parts:
            value = self._taken(part)
            needs: list[Cell | Real | Spike] = [
                c for c in readouts if c is not part and ratio(value, c.update) is not None
            ]
            for a in () if needs else value.atoms():
                made = maker.get(a, a)
                if made in known:
                    needs.append(made)
            sorter.add(part, *needs)
        yield from sorter.static_order()

    def _taken(self, part: Cell | Real | Spike) -> Form:
        if isinstance(part, Cell):
            return part.current
        return self.layers[part] if isinstance(part, Real) else part.gap

    # ---- nodes --------------------------------------------------------------------------------

    @staticmethod
    def _key(a: Real | Spike) -> tuple[object, ...]:
        shape = a.shape if isinstance(a, Real) else a.gap.shape
        return atom(a, shape).key()

    def _late(self, name: str, before: Real | Spike, value: Form) -> None:
        made = fresh(name, self._names)
        self._shapes[made] = value.shape
        self._edges[self._key(before)] = made
        self._delays.append((made, value))

    def _add(self, name: str, op: Op, reads: Sequence[str], shape: Shape, origin: str = "") -> str:
        made = fresh(name, self._names)
        self._shapes[made] = shape
        self.nodes.append(Node(op, tuple(reads), Edge(made, shape, SPIKE), origin=origin))
        return made

    @staticmethod
    def _title(cell: Cell) -> str:
        return (cell.spike.name if cell.spike else "") or clean(cell.state.name) or "neuron"

    def _neuron(self, cell: Cell) -> None:
        name = self._title(cell)
        x = self.edge(cell.current)
        if cell.late:
            x = self._add(f"{name}.late", Delay(1), (x,), cell.state.shape)
        made = self._add(name, cell.op, (x,), cell.state.shape, name)
        key = self._key(cell.spike) if cell.spike else cell.update.key()
        self._edges[key] = made

    def _layer(self, real: Real) -> None:
        if real.op is not None:
            x = self.edge(self.layers[real])
            name = real.name or type(real.op).__name__.lower()
            self._edges[self._key(real)] = self._add(name, real.op, (x,), real.shape, name)

    def _gate(self, spike: Spike) -> None:
        kind, pair = gate_of(spike)
        shape, name = spike.gap.shape, spike.name or kind
        reads = [self.edge(atom(s, shape)) for s in pair]
        self._edges[self._key(spike)] = self._add(name, Gate(kind), reads, shape, name)

    # ---- edges --------------------------------------------------------------------------------

    def edge(self, value: Form) -> str:
        """The edge that carries a value; nodes for its factors and sums are written first."""
        key = value.key()
        if key not in self._edges:
            self._edges[key] = self._readout(value) or self._sum(value)
        return self._edges[key]

    def _readout(self, value: Form) -> str | None:
        """A multiple of what an integrator holds."""
        for cell in self.cells:
            found = ratio(value, cell.update) if cell.spike is None else None
            if found is not None and not found[1].any():
                name = self._edges[cell.update.key()]
                return self._add(f"{name}.scale", Scale(found[0]), (name,), value.shape)
        return None

    def _sum(self, value: Form) -> str:
        terms = {m: c for m, c in value.terms.items() if m != ONE}
        parts = []
        shift = value.of()
        for monomial, factor in terms.items():
            term = self._term(monomial, value.shape)
            node = next((n for n in self.nodes if n.name == term), None) if shift.any() else None
            op = shifted(node.op, value.shape, factor, shift) if node else None
            if node and op:
                parts.append(self._add(term, op, node.inputs, value.shape, node.origin))
                shift = np.zeros(())
            elif factor.ndim == 0 and factor == 1:
                parts.append(term)
            else:
                parts.append(self._add(f"{term}.scale", Scale(factor), (term,), value.shape))
        if shift.any() or not parts:
            raise OnnxError(
                "a constant current without a layer that could have it as its bias",
                found=f"{shift.min():g} to {shift.max():g}",
                where=", ".join(str(p) for p in parts),
                remedy="give the layer in front of the neuron a bias",
            )
        if len(parts) == 1:
            return parts[0]
        return self._add(f"{parts[0]}.sum", Add(), parts, value.shape)

    def _term(self, monomial: Monomial, shape: Shape) -> str:
        spikes = sorted((a for a in monomial if isinstance(a, Spike)), key=lambda a: a.index)
        reals = [a for a in monomial if isinstance(a, Real)]
        one = reals[0] if reals else spikes[0]
        if len(monomial) == 1 and self._key(one) in self._edges:
            return self._edges[self._key(one)]
        where = ", ".join(dict.fromkeys(s.where for s in spikes))
        if not reals and all(self._key(s) in self._edges for s in spikes):
            reads = [self._edges[self._key(s)] for s in spikes]
            return self._add(f"{reads[0]}.and", Gate("and"), reads, shape)
        raise OnnxError(
            "a value that nothing in the graph carries: a membrane of a neuron that fires, or a "
            "product of spikes and a current",
            where=where or f"tensor {reals[0].name!r}",
            found=" * ".join([*(s.name or s.where for s in spikes), *(r.name for r in reals)]),
            allowed="spikes, currents, and membranes of readouts, which neither fire nor reset",
            remedy="make the spikes the output, or leave out the threshold of the last layer",
        )
