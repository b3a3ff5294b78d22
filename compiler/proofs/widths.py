"""No executor and no chip file for what may wrap: the same sums would mean different things.

The interpreter and the other executors hold every current in full and clip every membrane as the
chip does, so that a membrane that saturates is the same everywhere. A current that leaves its
register wraps around on the chip and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping

from purespike.compiler.errors import Refusal
from purespike.compiler.ir.graph import Graph
from purespike.compiler.proofs.ranges import Bounds, bound_neurons


class WidthError(Refusal):
    """A network whose sums may leave the registers of the chip."""

    rule = "PS006"


def unproved(bounds: Mapping[str, Bounds]) -> list[str]:
    """The neurons whose currents are not proved to fit: they may wrap, or nothing is known."""
    return [name for name, b in bounds.items() if b.verdict in ("may wrap", "unknown")]


def require_widths(graph: Graph, *, current_limit: float) -> dict[str, Bounds]:
    """The bounds of every neuron of a graph in integers; raise if a current may wrap around.

    Args:
        graph: What runs on the chip.
        current_limit: The largest magnitude of a summed current, in units of a weight.

    Raises:
        WidthError: At the first such neuron, with its bounds.
    """
    bounds = bound_neurons(graph, current_limit=current_limit)
    for name in unproved(bounds):
        node, b = graph.producer(name), bounds[name]
        raise WidthError(
            "a current may leave its register and wrap around",
            where=f"%{name} (module {node.origin or name})" if node else name,
            found=f"sums from {b.current[0]:g} to {b.current[1]:g}",
            allowed=f"+-{current_limit:g} weights per step, biases included and left out",
            remedy="use fewer inputs or smaller weights (fewer bits)",
        )
    return bounds
