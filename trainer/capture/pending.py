"""What a forward computes without a meaning in the graph, until it is clear what it is for.

``if h.mean() > 0.1:`` asks for a mean, a comparison, and then which way to go. Only the last says
what is wrong, so the refusal of the mean waits until something reads it: a branch is refused as a
branch, everything else as the operation that has no meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx

from purespike.trainer.capture.conversions import CaptureError
from purespike.trainer.capture.functions import scope
from purespike.trainer.capture.reasons import reason_of_function
from purespike.trainer.capture.tokens import source_line
from purespike.trainer.capture.values import Value

__all__ = ["Pending", "no_operation", "refuse_decision"]


@dataclass(frozen=True, eq=False)
class Pending:
    """In the place of a value: the refusal of whatever reads it as a tensor."""

    error: CaptureError


def no_operation(node: fx.Node, value: Any = None) -> CaptureError:
    """The refusal of a call that has no meaning in the graph.

    Args:
        node: The call.
        value: What its first argument is.
    """
    target = getattr(node.target, "__name__", str(node.target))
    why, remedy = _of_part(node, value) if target == "getitem" else reason_of_function(target)
    return CaptureError(
        f"the compiler has no operation for {target}" + (f": {why}" if why else ""),
        where=scope(node) or "the model's forward",
        found=f"{source_line()} [{node.format_node() or target}]",
        allowed="modules of torch.nn and purespike.nn that capture knows, sums, constant factors, "
        "and logic of spikes",
        remedy=remedy or "express it with layers, neurons and gates of purespike.nn",
    )


def refuse_decision(node: fx.Node, kind: type) -> CaptureError:
    """The refusal of a forward that makes a Python value of a tensor.

    Args:
        node: What made the tensor.
        kind: What is asked for: bool by a branch, or a number.
    """
    data = _reads_data(node)
    branch = "the forward decides by its {} which way it goes, and the graph of a chip goes one"
    number = "the forward makes a Python number of its {}, which a graph knows nothing of"
    return CaptureError(
        (branch if kind is bool else number).format("data" if data else "parameters"),
        where=scope(node) or "the model's forward",
        found=source_line(),
        allowed="the same layers for every input; Python branches on what is fixed when the model "
        "is made: numbers, shapes, self.training",
        remedy="leave the branch out of the forward, or take it on the host, around the network; "
        "what goes by each value is a neuron with a threshold, such as purespike.nn.IF()"
        if data
        else "keep it as a Python number, beside the parameter",
    )


def _reads_data(node: fx.Node) -> bool:
    """Is a tensor made of more than parameters?"""
    if node.op in ("placeholder", "call_module"):
        return True
    return any(_reads_data(read) for read in node.all_input_nodes)


def _of_part(node: fx.Node, value: Any) -> tuple[str, str]:
    """Why one step, or a part of time, is not taken."""
    if not isinstance(value, Value) or "T" not in value.lead:
        return "", ""
    index = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
    axis = value.lead.index("T")
    if len(index) <= axis or index[axis] in (slice(None), Ellipsis):
        return "", ""
    return (
        "it takes steps out of a sequence, and the answer of a network is read from all of them",
        "end with purespike.nn.TimeMean(), the mean over all steps, or return the sequence "
        "(T, B, ...) as it is: the class is read from the sum of its steps",
    )
