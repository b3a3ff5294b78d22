"""NIR files as graphs: our own exactly, those of other tools under stated conventions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

from purespike.compiler.choices import Current, Feedback, Fires, IfR, RecurrentBias, Reset
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import Domain
from purespike.compiler.ir.graph import Graph, Shape
from purespike.targets.nir.describe import FORMAT, restore
from purespike.targets.nir.document import JSON, Document, content_hash, difference
from purespike.targets.nir.emit import to_document
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.foreign.read import Conventions, from_foreign
from purespike.targets.nir.foreign.settle import settled
from purespike.targets.nir.guard.guard import load
from purespike.targets.nir.schema import check

# The NIR types that each op may have become, with an array for every value that the node sends:
# whatever is emitted again is then no larger than the file.
_TYPES = {
    "Conv2d": ("Conv2d",),
    "Linear": ("Linear", "Affine"),
    "Scale": ("Scale",),
    "Neuron": ("I", "LI", "Threshold", "IF", "LIF", "CubaLI", "CubaLIF"),
    "Flatten": ("Flatten",),
    "Delay": ("Delay",),
}
_BROKEN = (
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
    IndexError,
    OverflowError,
    MemoryError,
    RecursionError,
    PurespikeError,
)


def read_nir(
    path: str | os.PathLike[str],
    *,
    dt: float | None = None,
    reset: Reset | None = None,
    if_r: IfR | None = None,
    steps: int | None = None,
    domain: Domain | None = None,
    feedback: Feedback | None = None,
    current: Current | None = None,
    recurrent_bias: RecurrentBias | None = None,
    fires: Fires | None = None,
) -> Graph:
    """The graph in a NIR file. The file is parsed in a child process; see `guard`.

    A file that purespike wrote comes back equal: nodes, operations, arrays, domains, outputs. It is
    refused if its content and its hash, or its nodes and its metadata, disagree. It states all
    conventions itself, and the arguments are only compared with what it states.

    For a file of another tool, NIR leaves open what decides about spikes; it must be stated here,
    unless the graph's metadata says it: ``dt`` (seconds), ``reset_mechanism`` (zero, subtract).

    Args:
        path: The file.
        dt: Seconds per time step; NIR is written in continuous time.
        reset: What a spike does to the membrane: ``zero`` sets it to v_reset (which must be 0),
            ``subtract`` takes the threshold off. NIR files before 1.0.6 do not say.
        if_r: How IF and I use r: ``step`` adds ``r * x`` a step, ``dt`` adds ``dt * r * x``.
        steps: Time steps per sample, T.
        domain: What the inputs carry, such as SPIKE; None claims nothing (any real number).
        feedback: ``previous``: an edge that closes a loop carries the step before, zero at first.
            None refuses loops without a Delay node.
        current: Which synaptic current the membrane of CubaLI and CubaLIF takes: that of this step
            (``new``) or of the step before (``previous``), which becomes a Delay.
        recurrent_bias: Whether the bias of a layer in a loop without a Delay node is there from the
            first step on (``always``: the layer's spikes are those of the step before) or from the
            second (``delayed``: its current is). Where no such layer has a bias, it is refused.
        fires: Where a membrane equals the threshold: ``above`` does not fire (NIR's text, snnTorch,
            Norse), ``at`` does (SpikingJelly, sinabs, Rockpool). Not needed where `ties.can_tie`
            proves that no membrane can; ``above`` is taken then, and says the same.

    Raises:
        NirFileError: For every defect of the file, and every convention that is missing, at once.
    """
    stated = Conventions(dt, reset, if_r, steps, domain, feedback, current, recurrent_bias, fires)
    return _read(path, load(path), stated)[0]


def read_document(document: Document, name: str = "model.nir") -> Graph:
    """The graph of a file of purespike's own that was parsed before, checked as `read_nir` does."""
    return _read(name, document, Conventions())[0]


def read_both(
    path: str | os.PathLike[str], stated: Conventions, steps: int | None = None
) -> tuple[Graph, Document]:
    """The graph in a NIR file, and the file as plain data, as it stands there; see `read_nir`.

    Args:
        path: The file.
        stated: By the caller.
        steps: That a sample lasts where neither the file nor the caller says it.
    """
    document = load(path)
    if not document.metadata and stated.steps is None:
        stated = replace(stated, steps=steps)
    graph, taken = _read(path, document, stated)
    return graph, replace(document, taken=taken)


def extra_of(document: Document) -> dict[str, JSON]:
    """The ``extra`` metadata of a purespike file that was read before."""
    extra: dict[str, JSON] = _metadata(document)["extra"]
    return extra


def read_extra(path: str | os.PathLike[str]) -> dict[str, JSON]:
    """The ``extra`` metadata that a purespike file was written with; empty for other files."""
    document = load(path)
    if not document.metadata:
        return {}
    _read(path, document, Conventions())
    return extra_of(document)


def _read(
    path: str | os.PathLike[str], document: Document, stated: Conventions
) -> tuple[Graph, tuple[str, ...]]:
    """The graph of a document, and what was taken for it; every error names the file."""
    try:
        if document.metadata:
            return _own(document, check(document), stated), ()
        document, taken = settled(document)
        return from_foreign(document, check(document), stated), taken
    except NirFileError as e:
        e.where = f"{os.fspath(path)}: {e.where}" if e.where else os.fspath(path)
        raise
    except PurespikeError as e:
        raise NirFileError(
            f"the file is not a legal network: {e.message}",
            found=e.found,
            allowed=e.allowed,
            where=f"{os.fspath(path)}: {e.where}",
            remedy=e.remedy,
        ) from None
    except (MemoryError, OverflowError) as e:
        raise NirFileError(
            "the file declares more than fits", where=os.fspath(path), found=str(e)
        ) from None


def _own(document: Document, sends: Mapping[str, Shape], stated: Conventions) -> Graph:
    data = _metadata(document)
    try:
        digest = content_hash(document, data)
    except (ValueError, RecursionError) as e:  # a number that no JSON text has
        _refuse(str(e))
    if digest != data.get("sha256"):
        raise NirFileError(
            "the file has been modified since purespike wrote it",
            found="its content does not have the SHA-256 that it states",
            remedy="use the original, or compile the network again",
        )
    try:
        _check_sizes(data, document, sends)
        graph = restore(data, document.nodes)
        again = to_document(graph, strict=data["strict"] is True, extra=data["extra"])
    except _BROKEN as e:
        _refuse(f"{type(e).__name__}: {str(e)[:120]}")
    if where := difference(document, again):
        _refuse(f"they differ at {where}")
    stated.agree(graph)
    return graph


def _metadata(document: Document) -> dict[str, Any]:
    try:
        data = json.loads(document.metadata)
    except (ValueError, RecursionError) as e:
        _refuse(f"no JSON: {str(e)[:80]}")
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise NirFileError(
            "unknown format of the purespike metadata",
            found=str(found)[:40],
            allowed=str(FORMAT),
            remedy="read the file with the purespike that wrote it",
        )
    return data


def _check_sizes(data: Mapping[str, Any], document: Document, sends: Mapping[str, Shape]) -> None:
    used: set[str] = set()
    for record in data["nodes"]:
        if record["op"] == "Add":
            continue
        name = record["node"]
        fits = document.nodes[name]["type"] in _TYPES[record["op"]]
        if name in used or not fits or list(sends[name]) != record["shape"]:
            raise ValueError(f"{record['op']} does not fit node {name!r}")
        used.add(name)


def _refuse(found: str) -> NoReturn:
    raise NirFileError(
        "the purespike metadata does not describe the nodes of the file",
        found=found,
        remedy="use the original, or compile the network again",
    )
