"""How a drawing is divided: copies for each level as one stack, and parts that can be folded."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from purespike.compiler.report.rows.network import EdgeRow, Network, NodeRow

_CHAIN = 4  # nodes after which a chain is cut behind the next neuron


@dataclass(frozen=True)
class Box:
    """What one box of the drawing stands for: a layer, or its copies for each level.

    Attributes:
        name: Of the layer; of copies, the common part.
        layers: Numbers of the layers.
        edge: The first of them.
        reads: Numbers of the boxes that it reads.
    """

    name: str
    layers: tuple[int, ...]
    edge: EdgeRow
    reads: tuple[int, ...] = ()

    @property
    def operation(self) -> str:
        """Of the node; ``input`` for an input."""
        return self.edge.operation if isinstance(self.edge, NodeRow) else "input"

    @property
    def role(self) -> str:
        """Of the node; ``input`` for an input."""
        return self.edge.role if isinstance(self.edge, NodeRow) else "input"


def boxes(network: Network, shared: Mapping[str, str]) -> list[Box]:
    """The boxes in an order in which what is read comes first, but for loops."""
    edges: tuple[EdgeRow, ...] = (*network.inputs, *network.nodes)
    stacks: dict[tuple[object, ...], list[int]] = {}
    for k, e in enumerate(edges):
        alike: tuple[object, ...] = (k,)
        if e.name in shared and isinstance(e, NodeRow):
            alike = (shared[e.name], e.operation, e.shape, e.role)
        stacks.setdefault(alike, []).append(k)
    groups = list(stacks.values())
    box_of = {edges[k].name: b for b, own in enumerate(groups) for k in own}
    reads: list[tuple[int, ...]] = []
    for own in groups:
        named = (i for k in own if isinstance(e := edges[k], NodeRow) for i in e.reads)
        reads.append(tuple(dict.fromkeys(box_of[i] for i in named if i in box_of)))
    order = _ordered(reads, [own[0] for own in groups])
    place = {b: k for k, b in enumerate(order)}
    return [
        Box(
            shared[edges[own[0]].name] if len(own) > 1 else edges[own[0]].name,
            tuple(own),
            edges[own[0]],
            tuple(place[i] for i in reads[b]),
        )
        for b, own in ((b, groups[b]) for b in order)
    ]


def _ordered(reads: Sequence[Sequence[int]], first: Sequence[int]) -> list[int]:
    """Boxes after what they read, as far as that comes earlier; otherwise as they were."""
    waits = [{i for i in own if first[i] < first[b]} for b, own in enumerate(reads)]
    readers: list[list[int]] = [[] for _ in reads]
    for b, own in enumerate(waits):
        for i in own:
            readers[i].append(b)
    left = [len(own) for own in waits]
    ready = [(first[b], b) for b, n in enumerate(left) if not n]
    heapq.heapify(ready)
    order = []
    while ready:
        _, b = heapq.heappop(ready)
        order.append(b)
        for r in readers[b]:
            left[r] -= 1
            if not left[r]:
                heapq.heappush(ready, (first[r], r))
    return order


def parts(drawn: Sequence[Box]) -> list[range]:
    """Runs of boxes between which only the value of the last one passes.

    Such a run is a residual block, or a chain of layers; a long chain is cut behind its neurons.
    """
    last = list(range(len(drawn)))  # until where the value of a box is needed
    loops = 0  # the farthest box that an earlier one reads
    loop_to = [0] * len(drawn)
    for b, box in enumerate(drawn):
        for i in box.reads:
            last[i] = max(last[i], b)
            if i >= b:
                loop_to[b] = max(loop_to[b], i)
    runs: list[range] = []
    start = needed = 0
    for b in range(len(drawn)):
        loops = max(loops, loop_to[b])
        if needed <= b and loops <= b:  # what is needed later is this box alone
            runs.append(range(start, b + 1))
            start = b + 1
        needed = max(needed, last[b])
    return _joined(runs, drawn)


def _joined(runs: Sequence[range], drawn: Sequence[Box]) -> list[range]:
    """The runs with single boxes put together to chains, and to what they end."""
    found: list[range] = []
    whole = chain = True  # nothing may be added to the last part; it is of single boxes
    for run in runs:
        if len(run) == 1 and not whole:
            found[-1] = range(found[-1].start, run.stop)
        else:
            found.append(run)
            chain = len(run) == 1
        edge = drawn[run[-1]].edge
        fires = isinstance(edge, NodeRow) and edge.fires
        whole = fires and (not chain or len(found[-1]) >= _CHAIN)
    return found
