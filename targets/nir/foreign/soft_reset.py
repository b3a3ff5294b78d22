"""A soft reset in plain nodes, I or LI -> Threshold -> Scale(-amount) -> back, as one neuron.

The loop takes a step: ``v(t) = decay * v(t-1) + gain * (x(t) - a * s(t-1))`` is the graph's
``v <- decay * (v - amount * s) + gain * x`` with ``amount = gain * a / decay``. NIR can say a
subtraction in no other way; `write_nir` says it so where it is strict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.targets.nir.document import Document, Fields
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.shapes import array

AMOUNT = "amount"  # a field that NIR does not have
NEURONS = {"I": "IF", "LI": "LIF"}
Edges = Mapping[str, list[str]]


def merged(document: Document, dt: float, previous: bool) -> Document:
    """The document with each such loop as one IF or LIF of the Threshold's name.

    Its field ``amount`` is what a spike takes off the input of the step after it.

    Args:
        document: A checked document.
        dt: Seconds per step.
        previous: Whether the caller stated that an edge that closes a loop carries the step before.

    Raises:
        NirFileError: If such a loop does something else than the graph's neurons.
    """
    reads, feeds = _joined(document)
    nodes, gone = dict(document.nodes), set[str]()
    names: dict[str, str] = {}
    for spike in document.of_type("Threshold"):
        membrane = reads[spike][0]
        kind = document.nodes[membrane]["type"]
        if len(reads[spike]) > 1 or kind not in (*NEURONS, "CubaLI"):
            continue
        ways = [w for a in reads[membrane] if (w := _way_back(document, reads, feeds, a, spike))]
        if len(ways) != 1 or not any(document.nodes[n]["type"] == "Scale" for n in ways[0]):
            continue
        delays = [n for n in ways[0] if document.nodes[n]["type"] == "Delay"]
        amount = -np.prod(
            [array(document.nodes[n], "scale") for n in set(ways[0]) - set(delays)], 0
        )
        if bool((amount < 0).any()) or not (delays or previous):
            continue  # no reset, or a loop without delay, which `feedback_edges` asks about
        _check(document, membrane, feeds, [array(document.nodes[n], "delay") / dt for n in delays])
        fields = {k: v for k, v in document.nodes[membrane].items() if k != "type"}
        threshold = array(document.nodes[spike], "threshold")
        nodes[spike] = {
            "type": NEURONS[str(kind)], **fields, "v_threshold": threshold, AMOUNT: amount
        }  # fmt: skip
        names[membrane] = spike
        gone |= {membrane, *ways[0]}
    edges = [
        (a, names.get(b, b))
        for a, b in document.edges
        if a not in gone and (b not in gone or b in names)
    ]
    kept: dict[str, Fields] = {n: f for n, f in nodes.items() if n not in gone}
    return replace(document, nodes=kept, edges=tuple(edges))


def _joined(document: Document) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    reads: dict[str, list[str]] = {n: [] for n in document.nodes}
    feeds: dict[str, list[str]] = {n: [] for n in document.nodes}
    for a, b in document.edges:
        reads[b].append(a)
        feeds[a].append(b)
    return reads, feeds


def _way_back(document: Document, reads: Edges, feeds: Edges, name: str, spike: str) -> list[str]:
    """The Scales and Delays from ``spike`` up to ``name``, read by nothing else; empty if none."""
    way: list[str] = []
    while name != spike:
        fits = document.nodes[name]["type"] in ("Scale", "Delay") and name not in way
        if not fits or len(reads[name]) != 1 or len(feeds[name]) != 1:
            return []
        way.append(name)
        name = reads[name][0]
    return way


def _check(document: Document, membrane: str, feeds: Edges, delays: list[NDArray[Any]]) -> None:
    """Does the loop do in each step what a neuron with reset by subtraction does?"""
    reason, found = "", ""
    steps = sum(delays) if delays else np.ones(1)
    if document.nodes[membrane]["type"] == "CubaLI":
        reason, found = "it goes through a synaptic current, and fades in", "CubaLI"
    elif len(feeds[membrane]) > 1:
        reason = "the membrane is read by something else, too"
        found = ", ".join(feeds[membrane])
    elif bool((np.abs(steps - 1) > 1e-6).any()):
        reason = "it comes more than one step after the spike"
        found = f"{np.max(steps):g} steps"
    if reason:
        raise NirFileError(
            f"a soft reset in plain nodes is not a neuron: {reason}",
            where=f"node {membrane!r}",
            found=found,
            allowed="I or LI -> Threshold -> Scale -> back, one step",
        )
