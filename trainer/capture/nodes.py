"""The nodes of the graph while a forward is traced, and the values that their edges carry."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from purespike.compiler.ir import ops
from purespike.compiler.ir.atoms import Atoms
from purespike.compiler.ir.domain import ANALOG, SPIKE, Array
from purespike.compiler.ir.forms import MAX_SPIKES, ONE, Form, Monomial, Real, Spike, atom, plus
from purespike.compiler.ir.graph import Edge, Graph, IRError, Node, Op, Role, Shape
from purespike.compiler.ir.logic import gate_of
from purespike.compiler.ir.ops.levels import Rounding
from purespike.trainer.capture.conversions import CaptureError, refused
from purespike.trainer.capture.stepped import Clamp, Rounded, Step, clamped, rounded

__all__ = ["Nodes"]


class Nodes:
    """Adds nodes to a graph, in order.

    Args:
        source: the edge that the model reads.
        steps: T.
        role: of what is made in the module at a path.

    Attributes:
        nodes: of the graph, those that sums left behind included.
    """

    def __init__(self, source: Edge, steps: int, role: Callable[[str], Role]) -> None:
        self.nodes: list[Node] = []
        self.steps = steps
        self._role = role
        self._types: dict[str, Edge] = {source.name: source}
        self._atoms = Atoms(states=False)
        self._edges: dict[tuple[object, ...], str] = {}  # by what they carry
        self._forms: dict[str, Form] = {}
        self._sums: set[str] = set()  # of few spikes, which may be part of a gate
        self._looked: set[str] = set()  # those that arithmetic has looked through
        self._timeless: set[str] = set()  # averaged over time
        self._steps: dict[Real, Step] = {}  # clamps and roundings that no edge carries yet
        self.form(source.name)

    def type(self, name: str) -> Edge:
        """The edge of that name."""
        return self._types[name]

    def unknown(self, name: str, shape: Shape) -> Form:
        """A value that no operation of the graph makes: what follows is only looked through."""
        name = self.fresh(name)
        self._types[name] = Edge(name, shape, ANALOG)
        return self.form(name)

    def form(self, name: str) -> Form:
        """The value that an edge carries."""
        if name not in self._forms:
            edge = self._types[name]
            one = atom(self._atoms.real(name, edge.shape), edge.shape)
            if edge.domain <= SPIKE:
                one = self._atoms.spike(one, False, name, name)
            self._remember(name, one)
        return self._forms[name]

    def _remember(self, name: str, form: Form) -> None:
        self._forms[name] = form
        self._edges.setdefault(form.key(), name)

    def gated(self, form: Form, path: str) -> Form:
        """The value; a gate of spikes as one spike."""
        return self._atoms.gated(form, path, path or "the model's forward")

    def clamped(self, form: Form, low: float, high: float) -> Form:
        """``clamp(form, low, high)``, which only a rounding makes a value of the graph."""
        own = self._step_of(form)
        known = None if own is None else self._steps[own]
        return self._kept(clamped(form, known, low, high), form, "clamp")

    def rounded(self, form: Form, mode: Rounding) -> Form | None:
        """A value rounded to whole numbers; None where its factors are no plain numbers."""
        clamps = [(r, s) for r in form.reals() if isinstance(s := self._steps.get(r), Clamp)]
        made = rounded(form, clamps[0] if clamps else None, mode)
        return None if made is None else self._kept(made, form, "levels")

    def _step_of(self, form: Form) -> Real | None:
        """The clamp or rounding that a value is."""
        reals = form.reals()
        alone = len(reals) == 1 and form.key() == atom(reals[0], form.shape).key()
        return reals[0] if alone and reals[0] in self._steps else None

    def _kept(self, step: Step, form: Form, name: str) -> Form:
        own = self._atoms.real(name, form.shape)
        self._steps[own] = step
        return atom(own, form.shape)

    def fresh(self, name: str) -> str:
        """The name, or with a number behind it where it is taken."""
        count = 2
        fresh = name
        while fresh in self._types:
            fresh = f"{name}-{count}"
            count += 1
        return fresh

    def require_sequence(self, kind: str, edge: str, path: str) -> None:
        """Raise CaptureError if ``edge`` is a mean over time, and what reads it skips two axes."""
        if edge in self._timeless:
            raise _of_a_mean(kind, (edge,), path)

    def add(self, name: str, op: Op, reads: Sequence[str], path: str) -> str:
        """Add a node; returns the name of its edge, which is ``name`` where that is free.

        Raises:
            CaptureError: If it takes a mean over time for a sequence.
            IRError: If its inputs do not fit.
        """
        timeless = self._timeless.intersection(reads)
        exact = ops.Linear | ops.Add | ops.Relu | ops.Flatten
        if timeless and (len(timeless) < len(set(reads)) or not isinstance(op, exact)):
            raise _of_a_mean(type(op).__name__, reads, path)
        name = self.fresh(name)
        if timeless or isinstance(op, ops.TimeMean):
            self._timeless.add(name)
        known = tuple(self._types.values())
        draft = Node(op, tuple(reads), Edge(name, (), SPIKE), self._role(path), path)
        (node,) = Graph(known, (), (), self.steps).rebuilt([draft]).nodes
        self._types[name] = node.output
        self.nodes.append(node)
        return name

    def sum(self, reads: Sequence[str], path: str) -> Form:
        """The sum of edges, as a node of its own; where it is of few spikes, seen through."""
        total = self.form(reads[0])
        for other in reads[1:]:
            total = plus(total, self.form(other))
        clear = not total.reals() and len(total.spikes()) <= MAX_SPIKES
        if clear and total.key() in self._edges:
            return total
        name = self.add(f"{path}.add" if path else "add", ops.Add(), reads, path)
        if clear:
            self._remember(name, total)
            self._sums.add(name)
        return self.form(name)

    def written(self, *forms: Form) -> bool:
        """Is there an edge that carries each of these values?"""
        return all(f.key() in self._edges for f in forms)

    def look(self, form: Form) -> None:
        """Arithmetic takes this value: if it is a sum, what reads the sum may be written away."""
        name = self._edges.get(form.key(), "")
        if name in self._sums:
            self._looked.add(name)

    def edge(self, form: Form, path: str) -> str:
        """The edge that carries a value; gates, scales and sums are written first.

        Raises:
            CaptureError: If nothing in the graph carries it.
        """
        key = form.key()
        if key not in self._edges:
            self._edges[key] = self._written(form, path)
        return self._edges[key]

    def _written(self, form: Form, path: str) -> str:
        spikes = form.spikes()
        if len(spikes) == 1 and spikes[0].gate and form.key() == atom(spikes[0], form.shape).key():
            place = spikes[0].name
            try:
                kind, inner = gate_of(spikes[0])
            except IRError as e:
                raise refused(e, place or "the model's forward") from None
            reads = [self.edge(atom(s, form.shape), place) for s in inner]
            return self.add(f"{place}.{kind}" if place else kind, ops.Gate(kind), reads, place)
        own = self._step_of(form)
        if own is not None:
            step = self._steps[own]
            if isinstance(step, Rounded):
                source = self.edge(step.source, path)
                try:
                    op = step.levels()
                except IRError as e:
                    raise refused(e, path or "the model's forward") from None
                name = f"{path}.levels" if path else "levels"
                return self.add(name, op, [source], path)
            raise CaptureError(
                "a clamp of a current that nothing rounds: no synapse and no neuron computes it",
                where=path or "the model's forward",
                found=f"clamp({self._said(step.source)}, {step.low:g}, {step.high:g})",
                allowed="round(clamp(x, 0, D)), which D neurons compute",
                remedy="round it, or train with a spiking neuron in its place",
            )
        if not form.terms or form.of().any():
            raise CaptureError(
                "a constant beside spikes or currents, which no synapse sends",
                where=path or "the model's forward",
                found=self._said(form),
                allowed="sums and constant factors of currents; any gate of spikes: and, or, xor, "
                "(not a) and b",
                remedy="give the layer in front a bias; for 1 - a, take the gate that uses it "
                "(a current of the opposite sign, or (1 - a) * b)",
            )
        parts = [self._term(m, c, form, path) for m, c in form.terms.items()]
        if len(parts) == 1:
            return parts[0]
        return self.add(f"{path}.add" if path else "add", ops.Add(), parts, path)

    def _term(self, monomial: Monomial, factor: Array, form: Form, path: str) -> str:
        if len(monomial) == 1:
            (one,) = monomial
            carried = self.edge(atom(one, form.shape), path)
        elif all(isinstance(a, Spike) for a in monomial):
            both = sorted((a for a in monomial if isinstance(a, Spike)), key=lambda a: a.index)
            reads = [self.edge(atom(a, form.shape), path) for a in both]
            carried = self.add(f"{path}.and" if path else "and", ops.Gate("and"), reads, path)
        else:
            reals = sum(not isinstance(a, Spike) for a in monomial)
            raise CaptureError(
                f"a product {'of currents' if reals > 1 else 'of spikes and a current'}: no "
                "synapse multiplies what it receives",
                where=path or "the model's forward",
                found=self._said(form),
                allowed="products of spikes with spikes, and with constants",
                remedy="put a spiking neuron behind the layer, and take its spikes",
            )
        if factor.ndim == 0 and factor == 1:
            return carried
        return self.add(f"{path}.scale" if path else "scale", ops.Scale(factor), (carried,), path)

    def _said(self, form: Form) -> str:
        """The value in words: ``1 - 2 lif1 * lif2``."""
        parts = []
        for monomial, c in form.terms.items():
            names = " * ".join(sorted(self._called(a) for a in monomial))
            number = f"{float(c):g}" if c.ndim == 0 else f"factors {c.shape}"
            parts.append(
                number if monomial == ONE else names if number == "1" else f"{number} {names}"
            )
        return " + ".join(parts).replace("+ -", "- ") or "0"

    def _called(self, a: object) -> str:
        found = (n for n, f in self._forms.items() if a in set(f.atoms()) and len(f.terms) == 1)
        return next(found, getattr(a, "name", ""))

    def pruned(self, outputs: Sequence[str]) -> list[Node]:
        """The nodes without the sums that arithmetic has looked through and nothing reads."""
        kept: list[Node] = []
        read, looked = set(outputs), set(self._looked)
        for node in reversed(self.nodes):
            if node.name in looked and node.name not in read:
                looked |= self._sums.intersection(node.inputs)
                continue
            read.update(node.inputs)
            kept.append(node)
        return kept[::-1]


def _of_a_mean(kind: str, reads: Sequence[str], path: str) -> CaptureError:
    return CaptureError(
        "something reads a mean over time as if it were a sequence",
        where=path or "the model's forward",
        found=f"{kind} of {', '.join(reads)}",
        allowed="linear layers, ReLU, flattening (B, ...), and sums of means",
        remedy="average over time at the end, after neurons and flattening",
    )
