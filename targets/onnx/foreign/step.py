"""One time step of another tool's network, with its states as inputs and outputs, as a graph.

snnTorch's ``Leaky``, ``Lapicque`` and ``Synaptic`` called with their states, or any PyTorch cell
that takes and returns its membrane, become such a graph through ``torch.onnx.export``. Every node
is read as algebra (`operators`), states are paired (`pairs`), and neurons are recognised in what
the step makes of its states (`cells`): not by the operators that an exporter happens to choose.
What is left open is stated: how many steps a sample lasts. States start at zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, ValueInfoProto

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.atoms import Atoms
from purespike.compiler.ir.domain import ANALOG, Domain
from purespike.compiler.ir.forms import Atom, Form, Real, Spike, atom
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.verify import verify
from purespike.compiler.wording import Advice
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.assemble import Assembly
from purespike.targets.onnx.foreign.cells import cell
from purespike.targets.onnx.foreign.files import PYTORCH, inputs, refuse_programs
from purespike.targets.onnx.foreign.history import without_echoes
from purespike.targets.onnx.foreign.machine import Machine
from purespike.targets.onnx.foreign.pairs import Pairs, pair
from purespike.targets.onnx.read import parse_onnx

MAX_NODES = 10_000
_NOTHING = Form((), {})


def read_step(
    path: str | Path, *, steps: int | None, dt: float = 1e-3, domain: Domain = ANALOG
) -> Graph:
    """The network of which an ONNX file computes one time step.

    Args:
        path: The file.
        steps: Time steps per sample.
        dt: Seconds per step; nothing in the network depends on it.
        domain: What the input carries.

    Returns:
        A graph in real numbers, with the constants of the file. Neurons of the file that reset in
        the next step (snnTorch) reset in the same step there, by an amount that leaves the same
        membrane.

    Raises:
        OnnxError: If something in it has no exact form in a graph; it names the node, what was
            found, what is allowed and what to do.
    """
    model = parse_onnx(path)
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused where it is found
            return _read(model, steps, dt, domain)
    except PurespikeError as e:
        raise OnnxError(
            f"no network can be read from this ONNX file: {e.message}",
            where=f"{path}: {e.where}" if e.where else str(path),
            found=e.found,
            allowed=e.allowed,
            remedy=e.remedy or ("" if e.open else PYTORCH),
            open=e.open,
        ) from None
    except RecursionError:
        raise OnnxError(
            "no network can be read from this ONNX file: its spikes are nested too deeply",
            where=str(path),
            remedy=PYTORCH,
        ) from None


def _read(model: ModelProto, steps: int | None, dt: float, domain: Domain) -> Graph:
    refuse_programs(model)
    if steps is None or steps < 1:
        raise OnnxError(
            "it computes one time step, and leaves open: steps",
            found="" if steps is None else f"{steps} steps",
            open={"steps": "an ONNX file of one step does not say how many a sample lasts"},
            remedy=Advice("where the inputs are spikes (0 or 1), state {domain}, too")
            if domain == ANALOG
            else "",
        )
    graph = _graph(model, steps, dt, domain)
    verify(graph)
    return graph


def _graph(model: ModelProto, steps: int, dt: float, domain: Domain) -> Graph:
    atoms = Atoms()
    reals, values = _interpreted(model.graph, atoms)
    if not atoms.spikes:
        kinds = ", ".join(sorted({n.op_type for n in model.graph.node}))
        raise OnnxError("nothing in it fires", found=kinds)
    _refuse_frozen(atoms, reals)
    pairs = pair(reals, values)
    states = {real: values[name] for real, name in pairs.states}
    rewrite = without_echoes(atoms, states)
    layers = {layer: rewrite(layer.source) for layer in atoms.layers if layer.source is not None}
    states = {real: rewrite(value) for real, value in states.items()}
    outputs = [rewrite(values[name]) for name in pairs.outputs]
    live = _live([*states.values(), *outputs], layers)
    layers = {a: layers[a] for a in live if a in layers}
    spikes = [a for a in live if isinstance(a, Spike)]
    assembly = _assembly(pairs, states, layers, spikes)
    _refuse_strangers(spikes, assembly)
    return assembly.graph(outputs or _only(assembly.sinks()), steps, dt, domain)


def _interpreted(graph: GraphProto, atoms: Atoms) -> tuple[list[Real], dict[str, Form]]:
    """The inputs of a step and the values of its outputs."""
    if len(graph.node) > MAX_NODES:
        raise OnnxError("too many nodes", found=f"{len(graph.node)}", allowed=f"{MAX_NODES}")
    declared = inputs(graph)
    batches = {_sizes(v)[0] for v in declared}
    machine = Machine(atoms, batches.pop() if len(batches) == 1 else -1)
    reals = [atoms.real(v.name, tuple(_sizes(v)[1:])) for v in declared]
    machine.values |= {r.name: atom(r, r.shape) for r in reals}
    for tensor in graph.initializer:
        machine.constant(tensor)
    for node in graph.node:
        machine.run(node)
    values = {}
    for v in graph.output:
        value = machine.values.get(v.name)
        if not isinstance(value, Form):
            raise OnnxError("an output that depends on no input", where=f"output {v.name!r}")
        values[v.name] = value
    return reals, values


def _sizes(value: ValueInfoProto) -> list[int]:
    """(N, *shape) of an input; N is -1 where it is open."""
    kind = value.type.tensor_type
    sizes = [d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim]
    if len(sizes) < 2 or min(sizes[1:]) < 1 or (sizes[0] < 1 and sizes[0] != -1):
        raise OnnxError(
            "an input has not the form that is needed",
            where=f"input {value.name!r}",
            found=f"({', '.join(d.dim_param or str(d.dim_value) for d in kind.shape.dim)})",
            allowed="(N, *shape): samples first, and all other sizes fixed",
            remedy="export it with a batch axis, dynamic in the first axis at most",
        )
    return sizes


def _refuse_frozen(atoms: Atoms, reals: list[Real]) -> None:
    """A comparison must depend on a state; without any in the file, say what happened to it."""
    for s in atoms.spikes:
        direct = [r for r in s.gap.reals() if r.op is None]
        if s.gate or (direct and len(reals) > 1):
            continue
        only = len(reals) < 2
        raise OnnxError(
            "a threshold without a state pair. Its membrane does not come in and go out, so it is "
            "frozen at its start, and the file is not the network that was trained"
            if only
            else "a threshold that depends on no state that the graph takes in",
            where=s.where,
            found=f"inputs {', '.join(r.name for r in reals)}; it compares "
            f"{', '.join(r.name or r.where for r in s.gap.reals())}",
            allowed="a neuron whose membrane is an input and, one step later, an output",
            remedy="call the neurons with their states and return them (snnTorch: init_hidden="
            f"False), or {PYTORCH}",
        )


def _live(values: list[Form], layers: Mapping[Real, Form]) -> list[Atom]:
    """All that a value depends on within the step."""
    found: set[Atom] = set()
    todo = [a for v in values for a in v.atoms()]
    for a in todo:  # grows while it is read
        if a not in found:
            found.add(a)
            todo += (a.gap if isinstance(a, Spike) else layers.get(a, _NOTHING)).atoms()
    return sorted(found, key=lambda a: a.index)


def _assembly(
    pairs: Pairs, states: Mapping[Real, Form], layers: Mapping[Real, Form], live: list[Spike]
) -> Assembly:
    membranes = {r: v for r, v in states.items() if r in v.reals()}
    handed = {r: v for r, v in states.items() if r not in membranes}
    memory = _remembered(pairs.data, handed, layers)
    for real, value in handed.items():
        if real in memory:
            raise OnnxError(
                "a state that is not a membrane, a synaptic current, spikes, or a layer's result",
                where=f"state {real.name!r}",
                found=f"its next value is made of {', '.join(a.name for a in value.atoms())}",
                remedy="hand over membranes, currents, spikes, or what layers make of spikes",
            )
    cells = [cell(r, membranes, live) for r in membranes]
    return Assembly(pairs.data, layers, cells, handed, [s for s in live if s.gate])


def _remembered(data: Real, handed: Mapping[Real, Form], layers: Mapping[Real, Form]) -> set[Real]:
    """The handed states that a membrane goes into, or that go round without being one."""
    left = set(handed)
    while True:
        known = {data, *(handed.keys() - left)}
        held = {r for r in left if _taken(handed[r], layers) <= known}
        if not held:
            return left
        left -= held


def _taken(value: Form, layers: Mapping[Real, Form]) -> set[Real]:
    """The inputs of the step that a value is made of, through layers but not through spikes."""
    todo = value.reals()
    for r in todo:  # grows while it is read
        todo += [a for a in layers[r].reals() if a not in todo] if r.op is not None else []
    return {r for r in todo if r.op is None}


def _refuse_strangers(live: list[Spike], assembly: Assembly) -> None:
    known = {s for c in assembly.cells for s in (c.spike, c.before)}
    for s in live:
        if s not in known and not s.gate:
            raise OnnxError(
                "a comparison that is not a neuron's",
                where=s.where,
                found=f"it compares {', '.join(r.name or r.where for r in s.gap.reals())}",
                allowed="the next value of one membrane against constants, once",
            )


def _only(values: Iterator[Form] | list[Form]) -> list[Form]:
    ends = list(values)
    if len(ends) != 1:
        raise OnnxError(
            "which value is the network's output cannot be told: every output is a state",
            found=f"{len(ends)} layers of neurons that no layer takes",
            allowed="an output beside the states, or one last layer",
            remedy="return the spikes, or the readout's membrane, a second time",
        )
    return ends
