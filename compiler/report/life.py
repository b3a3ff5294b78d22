"""One layer's life, collected from a report: nothing is computed anew, nothing is guessed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from msgspec import field

from purespike.compiler.errors import UsageError
from purespike.compiler.report.report import Report
from purespike.compiler.report.rows.basic import Number, Role, Row, Share
from purespike.compiler.report.rows.c_program import CLayer
from purespike.compiler.report.rows.census import LayerCount
from purespike.compiler.report.rows.cores import CoreLayer
from purespike.compiler.report.rows.found import Found
from purespike.compiler.report.rows.network import NetworkFile, Source
from purespike.compiler.report.rows.stages import Activity, Equal, Join
from purespike.compiler.report.sentences import membrane

_NAMES = 12  # of the layers that an error lists


class Touch(Row, frozen=True):
    """What one pass did to a layer, and what of its spikes was the same afterwards."""

    pass_: str = field(name="pass")
    change: str | None  # made, changed, removed; None where it is as before
    equal: Share | None  # share of equal spikes on the probe, where the layer fires
    notes: tuple[str, ...]  # those that name the layer


class Life(Row, frozen=True):
    """All that a report says of one layer.

    Attributes:
        removed_by: The pass that took it away; then nothing but ``passes`` is known of it.
        feeds: The layers that read it.
        scale: Integer = scale * real number; None where quantization gave none.
        weight_bits: Bits per weight that the compiler was told, for layers with operations on them.
        currents: Joins that it is part of: as the neuron that joins, as a synapse, or as a source.
        cores: By layer of neurons: its own cores, or those of the neurons that read its current.
        followed: Whether the passes' changes are in the report; older ones have none.
        membrane: What a neuron does with it, in words: threshold, reset, decay.
        dt: Seconds per time step.
        steps: Time steps of a sample.
        file: That the network came from, with the answers about what it leaves open.
        files: In which files of the bundle it is, and as what; empty for a report on its own.
    """

    layer: str
    operation: str | None
    module: str | None
    source: Source | None
    role: Role | None
    shape: tuple[int, ...] | None
    domain: str | None
    fires: bool
    membrane: tuple[str, ...]
    dt: Number | None
    steps: int | None
    file: NetworkFile | None
    reads: tuple[str, ...]
    feeds: tuple[str, ...]
    removed_by: str | None
    followed: bool
    passes: tuple[Touch, ...]
    scale: Number | None
    weight_bits: int | None
    activity: Activity | None
    membrane_limit: Number | None
    counts: LayerCount | None
    c_program: CLayer | None
    timing: tuple[Join, ...]
    cores: tuple[CoreLayer, ...]
    executors: dict[str, Equal]
    findings: tuple[Found, ...]
    files: dict[str, tuple[str, ...]]


def life_of(report: Report, name: str, files: Mapping[str, tuple[str, ...]] | None = None) -> Life:
    """What a report says of the layer of that name.

    Args:
        report: Of a network that was at least captured.
        name: A layer of the network as it was drawn, an input, or a layer that a pass removed.
        files: In which files it is, if there is a bundle.

    Raises:
        UsageError: If there is no such layer; with the nearest names, and those of the module.
    """
    network = report.network
    inputs = {e.name: e for e in network.inputs} if network else {}
    nodes = {n.name: n for n in network.nodes} if network else {}
    touches = tuple(_touches(report, name))
    removed = next((t.pass_ for t in reversed(touches) if t.change == "removed"), None)
    if name not in nodes and name not in inputs and removed is None:
        raise _unknown(report, name)
    node = nodes.get(name)
    edge = node or inputs.get(name)
    census = {c.name: c for c in report.census.layers}
    counts = census.get(name)
    bits = report.options.get("weight_bits")
    weighs = counts is not None and counts.arrays is not None and network is not None
    quantized = weighs and any(line.name == "quantize" for line in report.ledger)
    c_layers = report.c_program.layers if report.c_program else ()
    feeds = tuple(n.name for n in nodes.values() if name in n.reads)
    return Life(
        layer=name,
        operation=node.operation if node else "Input" if edge else None,
        module=node.origin if node else None,
        source=report.sources.get(node.origin) if node else None,
        role=node.role if node else None,
        shape=edge.shape if edge else None,
        domain=edge.domain if edge else None,
        fires=bool(node and node.fires),
        membrane=tuple(membrane(node)) if node else (),
        dt=network.dt if network else None,
        steps=network.steps if network else None,
        file=report.file,
        reads=node.reads if node else (),
        feeds=feeds,
        removed_by=None if edge else removed,
        followed=all(line.changes is not None for line in report.ledger),
        passes=touches,
        scale=next((x.scales[name] for x in report.ledger[::-1] if name in x.scales), None),
        weight_bits=bits if quantized and isinstance(bits, int) else None,
        activity=next((a for a in report.activity if a.name == name), None),
        membrane_limit=report.membrane_limit,
        counts=counts,
        c_program=next((c for c in c_layers if c.name == name), None),
        timing=tuple(j for j in report.timing if name in (j.neuron, j.synapse, j.source)),
        cores=tuple(_cores(report, name)),
        executors={e.name: e.layers[name] for e in report.executors if name in e.layers},
        findings=tuple(f for f in report.found if name in _named(f.where)),
        files=dict(files or {}),
    )


def layer_names(report: Report) -> list[str]:
    """Every name that `life_of` knows: of inputs and layers in order, then of removed ones."""
    drawn = (
        [e.name for e in (*report.network.inputs, *report.network.nodes)] if report.network else []
    )
    changed = (
        n for line in report.ledger for n, c in (line.changes or {}).items() if c == "removed"
    )
    return list(dict.fromkeys((*drawn, *changed)))


def _touches(report: Report, name: str) -> Iterator[Touch]:
    for line in report.ledger:
        change = (line.changes or {}).get(name)
        notes = tuple(note for note in line.notes if name in _words(note))
        if change or notes or name in line.layers:
            yield Touch(pass_=line.name, change=change, equal=line.layers.get(name), notes=notes)


def _words(note: str) -> set[str]:
    return {word.strip(".,:;()%") for word in note.split()}


def _named(where: str) -> set[str]:
    """The layers that a finding's place names, such as ``cpu: a``, ``Lava a``, ``a -> b``."""
    place = where.split(" (module ")[0].rpartition(": ")[2].removeprefix("Lava ")
    return {part.removeprefix("%") for part in place.split(" -> ")}


def _cores(report: Report, name: str) -> Iterator[CoreLayer]:
    """The cores of a layer of neurons; of a current, those of the neurons that it ends in."""
    if not report.resources or not report.network:
        return
    known = {layer.layer: layer for layer in report.resources.layers}
    follow, seen = [name], set[str]()
    currents = {n.name for n in report.network.nodes}
    while follow:
        at = follow.pop()
        if at in seen:
            continue
        seen.add(at)
        if at in known:
            yield known[at]
        elif at in currents:
            follow += [n.name for n in report.network.nodes if at in n.reads]


def _unknown(report: Report, name: str) -> UsageError:
    known = layer_names(report)
    inside = [n for n in known if n.startswith(f"{name}.")]
    if report.network:
        inside += [
            n.name for n in report.network.nodes if n.origin == name and n.name not in inside
        ]
    close = inside or get_close_matches(name, known, 5, 0.5)
    if not close:
        close = [n for n in known if name.lower() in n.lower()]
    shown = ", ".join(known[:_NAMES]) + (
        f" and {len(known) - _NAMES} more" if known[_NAMES:] else ""
    )
    guess = f"{', '.join(close[:-1])} or {close[-1]}" if close[1:] else "".join(close)
    nothing = "the report has no network: its compile stopped before one was captured"
    return UsageError(
        "the network has no layer of this name",
        found=name,
        allowed=shown or nothing,
        remedy=f"did you mean {guess}?" if close else "",
    )
