"""What attention does with tokens, as operations of the graph: views, sums, masks, products."""

from __future__ import annotations

import linecache
import operator
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx

from purespike.compiler.ir import ops
from purespike.compiler.ir.domain import SPIKE
from purespike.trainer.capture import arranged
from purespike.trainer.capture.arranged import Carried, order_of
from purespike.trainer.capture.values import Constant, Value

if TYPE_CHECKING:
    from purespike.trainer.capture.walk import Walk

__all__ = [
    "MATRIX",
    "SUMS",
    "TAKES",
    "Product",
    "aligned",
    "masked",
    "product",
    "reduced",
    "settled",
    "source_line",
    "unknown",
    "view",
    "with_constants",
]

MATRIX = (torch.matmul, operator.matmul, torch.bmm, torch.einsum, "matmul", "bmm")
SUMS = (torch.sum, "sum", torch.mean, "mean")
TAKES = ("chunk", "split", "select", "narrow")
_OWN = Path(__file__).parent.as_posix()
_TORCH = Path(torch.__file__).parent.as_posix()


@dataclass(frozen=True)
class Product:
    """Two tensors that a network computes, multiplied.

    Attributes:
        path: The module.
        line: ``file.py:12: text`` of the forward.
    """

    path: str
    line: str

    @property
    def said(self) -> str:
        """For an error."""
        return f"{self.path or 'the forward'} ({self.line})"


def source_line() -> str:
    """Where the forward that is traced stands right now."""
    frame: Any = sys._getframe()
    while frame is not None:
        name = Path(frame.f_code.co_filename).as_posix()
        if not name.startswith((_OWN, _TORCH)) and not name.startswith("<"):
            text = linecache.getline(name, frame.f_lineno).strip()
            return f"{Path(name).name}:{frame.f_lineno}: {text}"
        frame = frame.f_back
    return ""


def call_of(node: fx.Node) -> Callable[..., Any]:
    """What a node computes, of its arguments."""
    if isinstance(node.target, str):
        name = node.target
        return lambda x, *a, **k: getattr(x, name)(*a, **k)
    return node.target


def view(walk: Walk, node: fx.Node, value: Value) -> Value | list[Value] | None:
    """What a view of a tensor shows; None if it mixes time or samples with the axes of a sample."""
    rest, named = node.args[1:], dict(node.kwargs)
    if any(isinstance(a, fx.Node) for a in (*rest, *named.values())) or value.at is not None:
        return None
    call = call_of(node)
    try:
        return arranged.moved(
            value, lambda x: call(x, *rest, **named), walk.sizes(value), walk.sizes
        )
    except (RuntimeError, TypeError, IndexError):  # torch refuses that view of these axes
        return None


def settled(walk: Walk, value: Value, path: str) -> Value | None:
    """Numbers in an order of their own as a map with the same channels; None if it is none."""
    if value.order is None and len(value.shape) == 1:  # features, behind a sum over places
        edge = walk.nodes.edge(value.form, path)
        flat = walk.add(
            f"{path}.flatten" if path else "flatten", ops.Flatten(), [(edge, value)], path
        )
        return replace(flat, lead=value.lead, kind=value.kind)
    found = None if value.order is None else arranged.picked(value, value.order)
    if found is not None:
        made = _carry(walk, value, found, path, "channels")
        if made.order is None:
            return made
    return unknown(walk, value, path) if walk.products else None


def unknown(walk: Walk, value: Value, path: str) -> Value:
    """What is seen, behind a product that is refused in the end."""
    shape = value.shape if len(value.shape) != 2 else (value.shape[0], 1, value.shape[1])
    form = walk.nodes.unknown(f"{path}.behind" if path else "behind", shape)
    return replace(value, form=form, order=None)


def reduced(walk: Walk, node: fx.Node, path: str) -> bool:
    """A sum or mean over axes of a sample."""
    value = walk.value(node.args[0], node, True)  # type: ignore[arg-type]
    if not isinstance(value, Value) or set(node.kwargs) - {"dim", "axis", "keepdim"}:
        return False
    args = dict(zip(("dim", "keepdim"), node.args[1:], strict=False)) | dict(node.kwargs)
    dims, keep = args.get("dim", args.get("axis")), bool(args.get("keepdim", False))
    leads, rank = len(value.lead), len(value.lead) + len(value.shape)
    given = [dims] if isinstance(dims, int) else dims
    if not isinstance(given, list | tuple) or not all(isinstance(d, int) for d in given):
        return False
    axes = sorted({d % rank - leads for d in given})
    if not axes or axes[0] < 0:
        return False
    found = arranged.summed(value, axes, keep)
    if found is None:
        return False
    count = int(np.prod([value.shape[a] for a in axes]))
    mean = "mean" in str(getattr(node.target, "__name__", node.target))
    made = _carry(walk, value, found, path, "mean" if mean else "sum", 1 / count if mean else 1.0)
    walk.values[node] = made
    return True


def masked(walk: Walk, node: fx.Node, tensors: list[Value], path: str) -> bool:
    """Spikes that a mask of spikes lets through, wherever both stand: an AND."""
    if len(tensors) != 2 or len({v.lead for v in tensors}) != 1:
        return False
    shape = np.broadcast_shapes(*(v.shape for v in tensors))
    large = sorted(tensors, key=lambda v: v.shape != shape)
    base, mask = large
    edges = [walk.nodes.edge(v.form, path) for v in large]
    if base.shape != shape or not all(walk.nodes.type(e).domain <= SPIKE for e in edges):
        return False
    kept = arranged.picked(base, order_of(base))
    if kept is None:
        return False
    over = np.broadcast_to(order_of(mask), shape)
    op = arranged.spread(mask, over, kept.shape, kept.order)
    if op is None:
        return False
    name = f"{path}.mask" if path else "mask"
    reads = []
    for k, (part, value, edge) in enumerate(zip((kept.op, op), large, edges, strict=True)):
        made = walk.add(f"{name}.in{k}", part, [(edge, value)], path)
        reads.append((walk.nodes.edge(made.form, path), made))
    total = walk.add(f"{name}.sum", ops.Add(), reads, path)
    both = ops.Neuron(np.asarray(2.0), decay=0.0)
    made = walk.add(name, both, [(walk.nodes.edge(total.form, path), total)], path)
    walk.values[node] = replace(arranged.seen(made, kept.order), lead=base.lead, kind="float")
    return True


def aligned(tensors: list[Value]) -> bool:
    """Do tensors stand number by number on one another?"""
    first = tensors[0]
    return all(
        v.form.shape == first.form.shape
        and v.shape == first.shape
        and (v.order is first.order or bool((order_of(v) == order_of(first)).all()))
        for v in tensors[1:]
    )


def with_constants(walk: Walk, node: fx.Node, like: Value) -> Any:
    """The values of a call's operands, its constants in the order that the tensors are in."""
    if like.order is None and like.shape == like.form.shape:
        return walk.values
    values = dict(walk.values)
    for read in node.all_input_nodes:
        known = values.get(read)
        if isinstance(known, Constant) and known.tensor.numel() > 1:
            seen = torch.broadcast_to(known.tensor.detach(), [*walk.sizes(like)])
            flat = seen.reshape(-1, int(np.prod(like.shape)))
            placed = torch.empty(int(np.prod(like.form.shape)), dtype=flat.dtype)
            placed[torch.from_numpy(order_of(like).reshape(-1))] = flat[0]
            same = bool((flat == flat[:1]).all()) and arranged.is_whole(like)
            if same:
                values[read] = Constant(placed.reshape(like.form.shape))
    return values


def product(walk: Walk, node: fx.Node, path: str) -> bool:
    """Note a product that no synapse computes, and go on behind it: there may be more.

    False if a constant is among its operands.
    """
    operands = [walk.values.get(n) for n in node.all_input_nodes]
    tensors = [v for v in operands if isinstance(v, Value)]
    if len(tensors) < 2 or len(tensors) != len(operands) or len({v.lead for v in tensors}) != 1:
        return False
    lead = tensors[0].lead
    empty = {n: torch.empty(walk.sizes_of(n), device="meta") for n in node.all_input_nodes}
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), empty.__getitem__)
    try:
        made = call_of(node)(*args, **kwargs)
    except (RuntimeError, TypeError):
        return False
    walk.products.append(Product(path, source_line()))
    shape = tuple(made.shape[len(lead) :])
    walk.values[node] = replace(
        tensors[0], form=walk.nodes.unknown(f"{path}.product", shape), shape=shape, order=None
    )
    return True


def _carry(
    walk: Walk, value: Value, found: Carried, path: str, what: str, factor: float = 1.0
) -> Value:
    edge = walk.nodes.edge(value.form, path)
    op: Any = found.op
    if factor != 1.0:
        op = ops.Scale(op.factor * factor) if isinstance(op, ops.Scale) else (
            replace(op, weight=op.weight * factor)
        )  # fmt: skip
    made = walk.add(f"{path}.{what}" if path else what, op, [(edge, value)], path)
    return replace(arranged.seen(made, found.order), lead=value.lead, kind=value.kind)
