"""Networks in files of exchange formats, as graphs, without torch: NIR, ONNX, netx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from purespike.compiler.checker import Verdict
from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.passes.fold_scales.move_delays import spikes_wait
from purespike.compiler.report.rows.basic import Choice
from purespike.compiler.report.rows.network import Format, NetworkFile
from purespike.errors import InputError
from purespike.flow.inputs.stated import NIR, Stated
from purespike.judge.independent import second_verdict
from purespike.targets.bundle.manifest import file_hash
from purespike.targets.nir.document import Document
from purespike.targets.nir.foreign.read import Conventions
from purespike.targets.nir.read import read_both

FORMATS = {".nir": "NIR", ".onnx": "ONNX", ".net": "netx", ".h5": "netx", ".hdf5": "netx"}
ASKED = (*NIR, "shape")  # what a report says of answers: not where data lie, or who is trusted


def is_graph_file(path: Path) -> bool:
    """Is this a file that `read_file` may know?"""
    return path.is_file() and path.suffix in FORMATS


def read_file(path: Path, stated: Stated) -> tuple[Graph, Verdict | None, str]:
    """The graph in a file, what the independent checker says of it, and its name.

    Only a NIR file is checked so; the name has what was taken of it.

    Raises:
        As `read_named`.
    """
    if FORMATS.get(path.suffix) != "NIR":
        graph, file = read_named(path, stated)
        return graph, None, file.title
    graph, document, conventions = _nir(path, stated, None)
    if not document.metadata:  # a delay that only a convention put there is no node to judge
        graph = spikes_wait(graph, document.nodes)
    named = network_file(path, "NIR", stated, taken=_taken(graph, document, conventions))
    return graph, second_verdict(document, conventions), named.title


def read_named(
    path: Path, stated: Stated, steps: int | None = None, shape: tuple[int, ...] | None = None
) -> tuple[Graph, NetworkFile]:
    """The graph in a file, and what a report says of that file.

    Args:
        path: The file.
        stated: What it leaves open.
        steps: That a sample of the data lasts, where neither the file nor the caller says it.
        shape: Of the data; for files that may leave it open.

    Raises:
        InputError: If nothing is known about such files, or something is stated in vain.
        PurespikeError: What the format's reader refuses, with the reason.
    """
    kind = FORMATS.get(path.suffix)
    lasts: dict[str, Choice] = {}
    if steps is not None and stated.steps is None:
        lasts["steps"] = steps
    if kind == "NIR":
        graph, document, conventions = _nir(path, stated, steps)
        assumed = {} if document.metadata else lasts
        taken = _taken(graph, document, conventions)
        return graph, network_file(path, "NIR", stated, assumed, taken)
    if kind == "ONNX":  # each reader loads what its format alone needs
        from purespike.targets.onnx.foreign.step import read_step
        from purespike.targets.onnx.graph import is_golden, read_graph
        from purespike.targets.onnx.quantized.read import is_quantized, read_quantized

        if is_golden(path):
            stated.refuse("an ONNX file of purespike", "data")
            return read_graph(path), network_file(path, "ONNX", stated)
        domain = SPIKE if stated.spike_input else ANALOG
        dt = 1e-3 if stated.dt is None else stated.dt  # a name for a step: nothing depends on it
        assumed = {"dt": dt} if stated.dt is None else {}
        if is_quantized(path):
            stated.refuse("a QONNX file", "dt", "spike_input", "data")
            graph = read_quantized(path, dt=dt, domain=domain)
            return graph, network_file(path, "QONNX", stated, assumed)
        stated.refuse("an ONNX file of another tool", "steps", "dt", "spike_input", "data")
        taking = steps if stated.steps is None else stated.steps
        graph = read_step(path, steps=taking, dt=dt, domain=domain)
        return graph, network_file(path, "ONNX", stated, assumed | lasts)
    if kind == "netx":
        from purespike.targets.netx.read import read_netx

        stated.refuse("a netx file", "dt", "steps", "shape", "data")
        graph = read_netx(
            path,
            steps=stated.steps,
            dt=stated.dt,
            shape=stated.shape,
            assumed=steps,
            assumed_shape=shape,
        )
        return graph, network_file(path, "netx", stated)
    raise InputError(
        "no network can be read from a file of this name",
        where=str(path),
        allowed=", ".join((*FORMATS, ".pt2")),
        remedy="give the file the suffix of its format",
    )


def network_file(
    path: Path,
    kind: Format,
    stated: Stated,
    assumed: Mapping[str, Choice] | None = None,
    taken: tuple[str, ...] = (),
) -> NetworkFile:
    """What a report says of a file that a network was read from.

    Args:
        path: The file; the report has its name and its hash, not its place.
        kind: Its format.
        stated: What its user answered.
        assumed: What was taken where neither the file nor the user says it.
        taken: What was read out of the file, in words.
    """
    said = {k: v for k, v in vars(stated).items() if k in ASKED and v not in (None, False)}
    if stated.shape is not None:
        said["shape"] = ",".join(map(str, stated.shape))
    return NetworkFile(
        name=path.name,
        sha256=file_hash(path),
        format=kind,
        stated=said,
        assumed=dict(assumed or {}),
        taken=taken,
    )


def _taken(graph: Graph, document: Document, conventions: Conventions) -> tuple[str, ...]:
    """What was taken of a NIR file where nothing was stated."""
    taken = [f"{k} {v}" for k, v in document.said.items() if getattr(conventions, k) is None]
    notes = [f"{', '.join(taken)}: from its metadata"] if taken else []
    notes += document.taken
    fires = any(isinstance(n.op, Neuron) and n.op.fires for n in graph.nodes)
    if fires and not document.metadata and conventions.fires is None:  # else it was asked for
        notes.append("fires above its thresholds: no membrane can equal one")
    return tuple(notes)


def _nir(path: Path, stated: Stated, steps: int | None) -> tuple[Graph, Document, Conventions]:
    stated.refuse("a NIR file", *NIR, "data")
    domain = SPIKE if stated.spike_input else None
    said = {f.name: getattr(stated, f.name) for f in fields(Conventions) if hasattr(stated, f.name)}
    conventions = Conventions(**said, domain=domain)
    return *read_both(path, conventions, steps), conventions
