"""Each thing that a network can hold, tried on each target; the table that `purespike targets` has.

``python tests/helpers/fidelity.py`` tries all and writes ``targets/fidelity/table.json`` and the
table of docs/targets.md anew.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from helpers.fidelity_rows import ROWS
from helpers.lava_reference import simulate as simulate_processes
from helpers.nir_cases import differences, execute, samples
from helpers.qonnx_steps import execute as execute_qonnx
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace, run
from purespike.compiler.ir.ops import FixedPoint, Neuron
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales
from purespike.compiler.passes.fuse_batchnorm import fuse_batchnorm
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.compiler.passes.strip_auxiliary import strip_auxiliary
from purespike.compiler.passes.unroll_levels.unroll_levels import unroll_levels
from purespike.judge.executors import make_golden
from purespike.targets.bundle.golden_network import write_golden_network
from purespike.targets.bundle.replay import replay
from purespike.targets.c.run import run_c
from purespike.targets.cpu.run import run_cpu
from purespike.targets.fidelity.table import COLUMNS, Cell, Row, markdown, packed
from purespike.targets.lava.lower.emit import emit, from_lava
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.lava.program.program import SoftIf
from purespike.targets.netx import read_netx, write_netx
from purespike.targets.nir.emit import to_document, to_nir, write_nir
from purespike.targets.nir.read import read_nir
from purespike.targets.onnx import qonnx_model, run_onnx, step_model
from purespike.targets.onnx.metadata import metadata
from purespike.targets.spec import LOIHI2, check

ROOT = Path(__file__).parents[2]
JSON = ROOT / "targets" / "fidelity" / "table.json"
DOCS = ROOT / "docs" / "targets.md"
BEGIN, END = "<!-- fidelity: begin -->", "<!-- fidelity: end -->"
PASSES: dict[str, Callable[[Graph], Graph]] = {
    "lower_gates": lower_gates,
    "fold_scales": fold_scales,
    "fuse_batchnorm": fuse_batchnorm,
    "strip_auxiliary": strip_auxiliary,
    "unroll_levels": unroll_levels,
}


class Different(AssertionError):
    """A target that took the network and computed something else."""


def same(what: str, found: Any, wanted: Any) -> None:
    if not np.array_equal(np.asarray(found), np.asarray(wanted)):
        raise Different(what)


def compare(graph: Graph, wanted: Trace, found: Trace) -> None:
    """Every spike and membrane of every neuron."""
    neurons = [n for n in graph.nodes if isinstance(n.op, Neuron)]
    assert neurons
    for node in neurons:
        if node.op.fires:  # type: ignore[attr-defined]
            same(node.name, found.values[node.name], wanted.values[node.name])
        same(f"membranes of {node.name}", found.membranes[node.name], wanted.membranes[node.name])


@dataclass(frozen=True)
class Try:
    """A network on its way to a target: its inputs by name, and what it does on them."""

    graph: Graph
    feeds: Mapping[str, Any]
    wanted: Trace
    folder: Path

    @property
    def x(self) -> Any:
        """Its one input, or all of them by name."""
        return next(iter(self.feeds.values())) if len(self.feeds) == 1 else self.feeds


def lava(t: Try) -> str:
    broken = [f for f in check(t.graph, LOIHI2) if f.status == "FAIL"]
    if broken:
        f = broken[0]
        raise PurespikeError(f"the chip cannot hold {f.measured}")
    plan = schedule(t.graph)
    program = emit(t.graph, plan, t.x)
    spiked, membranes = simulate_processes(program)
    rows = {n: (spiked[n], t.wanted.values[n]) for n in program.record}
    rows |= {n: (membranes[n], t.wanted.membranes[n]) for n in program.record_v}
    assert rows
    for name, (found, values) in rows.items():
        at = (t.graph.steps, t.x.shape[1], plan.depth[name], plan.gap)
        same(name, from_lava(found, *at), values)
    own = any(isinstance(p, SoftIf) for p in program.processes)
    return "our process SoftIF" if own else ""


def nir(t: Try) -> str:
    write_nir(t.graph, t.folder / "m.nir")
    back = read_nir(t.folder / "m.nir")
    assert differences(t.graph, back) == []
    compare(t.graph, t.wanted, run(back, t.x))
    try:  # do its plain nodes say all of it, or does the metadata say a part?
        outputs(t, to_nir(t.graph))
    except Different:
        return "metadata"
    return ""


def strict(t: Try) -> str:
    made = to_nir(t.graph, strict=True)
    outputs(t, made)
    plain = to_document(t.graph).nodes
    more = [n for n in made.nodes if n not in plain]
    return "a loop I, Threshold, Scale" if more else ""


def outputs(t: Try, made: Any) -> None:
    """The outputs by an executor of NIR that reads no metadata but which edges take a step."""
    import json

    said = json.loads(made.metadata["purespike"])
    feeds = {i["node"]: t.feeds[i["name"]] for i in said["inputs"]}
    values, _ = execute(made, feeds, t.graph.dt, metadata=False)
    for record, name in zip(said["outputs"], t.graph.outputs, strict=True):
        found, wanted = values[record["node"]], t.wanted.values[name]
        same(name, found, wanted)


def onnx(t: Try) -> str:
    compare(t.graph, t.wanted, run_onnx(step_model(t.graph), t.graph, t.x))
    return ""


def qonnx(t: Try) -> str:
    model = qonnx_model(t.graph)
    found, _ = execute_qonnx(model, t.x)
    units = metadata(model)["membrane_units"]
    for node in t.graph.nodes:
        if not isinstance(node.op, Neuron):
            continue
        if node.op.fires:
            same(node.name, found[node.name], t.wanted.values[node.name])
        if node.op.decay:
            counts = found[f"{node.name}_v_out"] * (64 // units[node.name])
            same(f"membranes of {node.name}", counts, t.wanted.membranes[node.name])
    return ""


def netx(t: Try) -> str:
    write_netx(t.graph, t.folder / "m.net")
    assert differences(t.graph, read_netx(t.folder / "m.net")) == []
    return ""


def c(t: Try) -> str:
    compare(t.graph, t.wanted, run_c(t.graph, t.x, flags="-O0"))
    return ""


def numpy(t: Try) -> str:
    write_golden_network(t.graph, t.folder)
    golden = make_golden(t.graph, t.x, np.zeros(t.x.shape[1], np.int64))
    arrays: dict[str, Any] = {"inputs": golden.inputs}
    arrays |= {f"spikes/{n}": a for n, a in golden.spikes.items()}
    arrays |= {f"membranes/{n}": a for n, a in golden.membranes.items()}
    np.savez(t.folder / "golden.npz", **arrays)
    rows = replay(t.folder)
    assert rows
    if any(row.different for row in rows):
        raise Different("numpy")
    return ""


def cpu(t: Try) -> str:
    compare(t.graph, t.wanted, run_cpu(t.graph, t.x))
    return ""


TRIES: dict[str, Callable[[Try], str]] = {
    "lava": lava, "nir": nir, "nir-strict": strict, "onnx": onnx, "qonnx": qonnx, "netx": netx,
    "c": c, "numpy": numpy, "cpu": cpu,
}  # fmt: skip
assert list(TRIES) == list(COLUMNS)


def tried(graph: Graph, column: str) -> Cell:
    """One cell: as it is, else by the passes that `compile` runs, else the first refusal."""
    attempt = TRIES[column]
    feeds = samples(graph, batch=2, seed=1)
    r = np.random.default_rng(2)
    feeds |= {e.name: r.random(feeds[e.name].shape) for e in graph.inputs if not e.domain <= SPIKE}
    single = len(graph.inputs) == 1
    wanted = run(graph, next(iter(feeds.values())) if single else feeds)
    assert any(wanted.values[n].any() for n in graph.outputs)  # silence would agree with anything
    try:
        with tempfile.TemporaryDirectory() as folder:
            note = attempt(Try(graph, feeds, wanted, Path(folder)))
        return Cell("rewritten", note) if note else Cell("exact")
    except PurespikeError as e:
        refusal = e
    for name, rewrite in PASSES.items():
        try:
            after = in_integers(rewrite(graph))
            if [type(n.op) for n in after.nodes] == [type(n.op) for n in graph.nodes]:
                continue
            again = run(after, next(iter(feeds.values())) if single else feeds)
            for a, b in zip(graph.outputs, after.outputs, strict=True):
                same(name, again.values[b], wanted.values[a])
            with tempfile.TemporaryDirectory() as folder:
                note = attempt(Try(after, feeds, again, Path(folder)))
            return Cell("rewritten", f"{name}, {note}" if note else name)
        except PurespikeError:
            continue
    return Cell("refused", refusal.message)


def in_integers(graph: Graph) -> Graph:
    """Neurons that a pass put in compute as the chip does, too."""
    nodes = tuple(
        replace(n, op=replace(n.op, fixed=FixedPoint()))
        if isinstance(n.op, Neuron) and n.op.fixed is None and graph.inputs[0].domain <= SPIKE
        else n
        for n in graph.nodes
    )
    return graph.rebuilt(nodes)


def row(name: str) -> Row:
    """All cells of one row."""
    return Row(name, {column: tried(ROWS[name](), column) for column in COLUMNS})


def documented() -> str:
    """The table that stands in docs/targets.md."""
    return DOCS.read_text(encoding="utf-8").split(BEGIN + "\n")[1].split(END)[0].strip("\n") + "\n"


if __name__ == "__main__":
    rows = tuple(row(name) for name in ROWS)
    JSON.write_text(packed(rows), encoding="utf-8")
    text = DOCS.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN + "\n")
    DOCS.write_text(
        f"{head}{BEGIN}\n\n{markdown(rows)}\n{END}{rest.split(END)[1]}", encoding="utf-8"
    )
    sys.stdout.write(markdown(rows))
