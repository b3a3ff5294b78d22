"""What a bundle's hashes cannot show: that its files say the same thing.

Whoever changes a file can write a manifest that agrees. Every file that follows from the network is
therefore made anew and compared, the recordings have to be of this network, all of it, and a file
that follows from nothing is refused.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

import purespike
from purespike.compiler.choices import Form
from purespike.compiler.errors import PurespikeError
from purespike.compiler.files.archives import DAMAGED, arrays
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.rules.finding import EXECUTORS, Finding, verdict
from purespike.compiler.storage import OutputError
from purespike.targets.bundle.bundle import MANIFEST, Bundle, BundleError, Golden, Models
from purespike.targets.lava.lower.emit import emit
from purespike.targets.lava.lower.schedule import Schedule, schedule
from purespike.targets.lava.program.program import Program
from purespike.targets.netx.read import same_netx
from purespike.targets.nir.document import difference
from purespike.targets.nir.guard.guard import load
from purespike.targets.onnx.read import parse_onnx

MADE_FROM_REPORT = ("report.json", "report.html", MANIFEST)  # `reported` judges these
ARRAYS = "lava/arrays.npz"
_CHANGED = "compile again; somebody or something changed the file after the compile"


@dataclass(frozen=True)
class Derived:
    """What follows from a bundle's network.

    Attributes:
        program: The Lava program of the golden samples; None if nothing follows.
        plan: Its schedule.
        findings: PS010, one per file.
        unwritten: Files that cannot say this network, as the compile said, and why.
    """

    program: Program | None
    plan: Schedule | None
    findings: tuple[Finding, ...]
    unwritten: Mapping[str, str] = field(default_factory=dict)


def require_recordings(bundle: Bundle) -> None:
    """Raise unless golden.npz holds samples, and every neuron of the network on all of them.

    Raises:
        BundleError: If something is missing, of another shape, or no spikes.
    """
    graph, golden = bundle.graph, bundle.golden
    neurons = {n.name: n for n in graph.nodes if isinstance(n.op, Neuron) and n.role != "host"}
    firing = {name for name, n in neurons.items() if isinstance(n.op, Neuron) and n.op.fires}
    edge = graph.inputs[0]
    lead = (graph.steps, golden.inputs.shape[1] if golden.inputs.ndim > 1 else 0)
    found = {"inputs": golden.inputs.shape}
    found |= {f"spikes/{n}": a.shape for n, a in golden.spikes.items()}
    found |= {f"membranes/{n}": a.shape for n, a in golden.membranes.items()}
    wanted = {"inputs": (*lead, *edge.shape)}
    wanted |= {f"spikes/{n}": (*lead, *neurons[n].output.shape) for n in firing}
    wanted |= {f"membranes/{n}": (*lead, *node.output.shape) for n, node in neurons.items()}
    wrong = sorted(n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n))
    arrays: list[NDArray[Any]] = [
        golden.inputs,
        golden.labels,
        *golden.spikes.values(),
        *golden.membranes.values(),
    ]
    whole = all(a.dtype.kind in "iub" for a in arrays)
    values = edge.domain.holds(golden.inputs.astype(np.float64)) if whole and not wrong else whole
    if wrong or not lead[1] or golden.labels.shape != lead[1:] or not values:
        raise BundleError(
            "the golden vectors are not those of this network",
            where=str(bundle.folder / "golden.npz"),
            found=", ".join(wrong) or (f"{lead[1]} samples" if values else "inputs that are none"),
            allowed="every neuron recorded, inputs of its domain, one sample or more",
            remedy="compile again",
        )


def foreign_version(bundle: Bundle) -> str:
    """The version of purespike that wrote the bundle, if it is not this one."""
    versions = bundle.manifest.get("versions")
    written = str(versions.get("purespike") if isinstance(versions, dict) else None)
    return "" if written == purespike.__version__ else written


def judged(bundle: Bundle, where: str, same: bool, measured: str, limit: str) -> Finding:
    """PS010 about a file that was compared; what only another version can say is NOT RUN."""
    other = foreign_version(bundle)
    if same or not other:
        return verdict(EXECUTORS, where, same, measured, limit=limit, remedy=_CHANGED)
    return Finding(
        EXECUTORS,
        where,
        "NOT RUN",
        f"{measured}; but purespike {other} wrote the bundle, and this is {purespike.__version__}",
        limit=limit,
        remedy=f"verify with purespike {other}, or compile again with this version",
    )


def make_derived(bundle: Bundle, golden: Golden, stage: Path) -> Derived:
    """Make every file that follows from model.nir and the golden inputs, and compare it.

    Args:
        bundle: What was read.
        golden: What the interpreter records on the inputs of its golden samples.
        stage: An empty folder to make the files in.
    """
    program, plan = None, None
    findings: list[Finding] = []
    unwritten: dict[str, str] = {}
    try:
        together, extras = _models(bundle).writers(bundle.graph, golden, stage)
        for write in together.values():
            write()
        for name, write in extras.items():
            try:
                write()
            except OutputError:
                raise
            except PurespikeError as e:
                if name not in bundle.manifest.get("not_written", {}):
                    raise
                unwritten[name] = str(e)
        plan = schedule(bundle.graph)
        program = emit(bundle.graph, plan, golden.inputs)
    except OutputError:  # the disk's fault, and nothing about the bundle
        raise
    except PurespikeError as e:
        words = f"{e.message}: {e.found}" if e.found else e.message
        where = f"{MANIFEST}: options"
        findings.append(judged(bundle, where, False, words, "forms that the network has"))
    made = {p.relative_to(stage).as_posix(): p for p in stage.rglob("*") if p.is_file()}
    listed = set(bundle.manifest["files"])
    for file in sorted(made):
        there = bundle.folder / file
        how = _same(made[file], there) if file in listed else ""
        words = how or ("differs from what follows from model.nir" if file in listed else "missing")
        findings.append(judged(bundle, file, bool(how), words, "what follows from model.nir"))
    for file in sorted(listed - made.keys() - set(MADE_FROM_REPORT)):
        words = "follows from nothing in the bundle"
        findings.append(judged(bundle, file, False, words, "files that purespike writes"))
    return Derived(program, plan, tuple(findings), unwritten)


def _models(bundle: Bundle) -> Models:
    """Which model files the manifest's options ask for."""
    options: Any = bundle.manifest.get("options")
    options = options if isinstance(options, dict) else {}
    said = {k: options.get(k, d) for k, d in _DEFAULTS.items()}
    ram = said["c_ram"]
    known = said["onnx"] in get_args(Form) and (ram is None or (type(ram) is int and ram > 0))
    if not (known and all(isinstance(said[k], bool) for k in ("nir_strict", "netx", "c"))):
        raise BundleError(
            "the options of the manifest have no meaning",
            found=", ".join(f"{k} {v!r}" for k, v in said.items()),
        )
    return Models(bundle.notes, **said)


_DEFAULTS = {"nir_strict": False, "onnx": "step", "netx": False, "c": False, "c_ram": None}


def _same(made: Path, there: Path) -> str:
    """How two files say the same; empty if they do not.

    Compression and HDF5 may pack the same content otherwise with other versions of their libraries.
    """
    ours, theirs = made.read_bytes(), there.read_bytes()
    if ours == theirs:
        return "the same bytes"
    repacked = "the same content, packed otherwise"
    try:
        if made.suffix == ".npz":
            return repacked if _arrays(ours) == _arrays(theirs) else ""
        if made.suffix == ".nir":
            return repacked if not difference(load(made), load(there)) else ""
        if made.suffix == ".net":
            return repacked if same_netx(made, there) else ""
        if made.suffix == ".onnx":
            return repacked if parse_onnx(made) == parse_onnx(there) else ""
        if made.name == "program.json":  # it names the hash of its arrays, however packed
            hashes = [_hash(p.with_name("arrays.npz")) for p in (made, there)]
            return repacked if ours.replace(hashes[0], hashes[1]) == theirs else ""
    except OutputError:
        raise
    except PurespikeError:  # what cannot be read is not the same
        return ""
    except DAMAGED:
        return ""
    return ""


def _hash(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).hexdigest().encode()


def _arrays(content: bytes) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    """Every member of an archive of arrays, in order; nothing else may be in it."""
    held = arrays(io.BytesIO(content))
    return [(name, a.dtype.str, a.shape, a.tobytes()) for name, a in held.items()]
