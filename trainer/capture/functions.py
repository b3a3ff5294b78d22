"""Functions and operators that a forward calls on tensors: what each is in the graph."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from purespike.compiler.ir import ops
from purespike.compiler.ir.forms import Form, plus
from purespike.compiler.ir.graph import IRError
from purespike.trainer.capture import arithmetic, tokens
from purespike.trainer.capture.arranged import fits
from purespike.trainer.capture.concat import Joined
from purespike.trainer.capture.conversions import CaptureError, refused
from purespike.trainer.capture.interop import recognize as interop
from purespike.trainer.capture.steps import common_step
from purespike.trainer.capture.values import SEQUENCE, STEP, Constant, Kind, State, Value
from purespike.trainer.capture.views import name_of_view, view

if TYPE_CHECKING:
    from purespike.trainer.capture.walk import Walk

__all__ = ["call_function", "scope"]


def scope(node: fx.Node) -> str:
    """The path of the module in whose forward an operation stands."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [v[0] if isinstance(v, tuple) else k for k, v in stack.items()]
    return str(paths[-1]) if paths else ""


def call_function(walk: Walk, node: fx.Node) -> bool:
    """Take in the call of a function, operator or method; False if it is none that is known.

    Raises:
        CaptureError: If it is known, and nothing in the graph is equal to it.
    """
    if node.target is operator.getitem:
        return walk.item(node) or _part(walk, node) or _step(walk, node) or _taken(walk, node)
    if node.target in _JOINS:
        return _JOINS[node.target](walk, node)
    if node.target in _DROPOUTS:
        return _dropped(walk, node)
    if node.target in tokens.SUMS:
        mean = node.target in _MEANS and _mean(walk, node)
        return mean or tokens.reduced(walk, node, scope(node))
    if node.target in tokens.MATRIX:
        return tokens.product(walk, node, scope(node))
    name = getattr(node.target, "__name__", node.target)
    if name in tokens.TAKES and isinstance(walk.values.get(node.args[0]), Value):  # type: ignore[arg-type]
        return _taken(walk, node)
    return _viewed(walk, node) or _computed(walk, node)


# ---- views ------------------------------------------------------------------------------------


def _viewed(walk: Walk, node: fx.Node) -> bool:
    name = name_of_view(node.target)
    if not name or not node.args:
        return False
    first = walk.values.get(node.args[0])  # type: ignore[arg-type]
    if isinstance(first, State) and name in ("detach", "clone", "contiguous", "requires_grad_"):
        walk.values[node] = first
        return True
    if isinstance(first, Joined):
        return _flattened(walk, node, name, first)
    value = walk.value(node.args[0], node, True)  # type: ignore[arg-type]
    if isinstance(value, Constant):
        return _folded(walk, node)
    found = view(name, value, node.args[1:], dict(node.kwargs), walk.sizes, walk.steps)
    if found is not None and value.order is not None:  # then for time and samples only
        found = None if found[1] or found[0].shape != value.shape else found
    if found is None and _taken(walk, node):
        return True
    if found is None:
        raise CaptureError(
            f"this {name} mixes time, samples and the axes of a sample, or is not a flattening",
            where=scope(node) or "the model's forward",
            found=f"{name} of {value.said} with {[*node.args[1:], *node.kwargs.values()]}",
            allowed="merging (T, B), splitting it again, swapping both, flattening all of a sample",
            remedy="give layers images (C, H, W) and flat features (F,); a vote over features is "
            "layer.VotingLayer of SpikingJelly",
        )
    seen, flat = found
    if flat:
        path = scope(node)
        edge = walk.nodes.edge(seen.form, seen.path)
        made = walk.add(
            f"{path}.flatten" if path else "flatten", ops.Flatten(), [(edge, seen)], path
        )
        seen = replace(made, lead=seen.lead, kind=seen.kind)
    walk.values[node] = seen
    return True


def _flattened(walk: Walk, node: fx.Node, name: str, joined: Joined) -> bool:
    """Concatenated channels, flattened: concatenated features."""
    parts = []
    for value in joined.parts:
        found = view(name, value, node.args[1:], dict(node.kwargs), walk.sizes, walk.steps)
        if found is None or name in ("reshape", "view"):
            return False
        seen, flat = found
        if flat:
            path = scope(node)
            reads = [(walk.nodes.edge(seen.form, seen.path), seen)]
            made = walk.add(f"{path}.flatten" if path else "flatten", ops.Flatten(), reads, path)
            seen = replace(made, lead=seen.lead, kind=seen.kind)
        parts.append(seen)
    walk.values[node] = Joined(tuple(parts))
    return True


def _part(walk: Walk, node: fx.Node) -> bool:
    """One of the parts of ``chunk`` or ``split``."""
    parts, index = walk.values.get(node.args[0]), node.args[1]  # type: ignore[arg-type]
    if not isinstance(parts, list) or not isinstance(index, int):
        return False
    walk.values[node] = parts[index]
    return True


def _taken(walk: Walk, node: fx.Node) -> bool:
    """Axes of a sample in another order, or a part of them."""
    value = walk.value(node.args[0], node, True)  # type: ignore[arg-type]
    found = tokens.view(walk, node, value) if isinstance(value, Value) else None
    if isinstance(found, Value) and len(found.shape) == 1 and len(found.form.shape) > 1:
        return False  # features: `view` flattens
    walk.values[node] = found
    return found is not None


def _step(walk: Walk, node: fx.Node) -> bool:
    """``x[t]`` of a sequence, ``x[:, t]`` where the samples stand in front."""
    value = walk.value(node.args[0], node, True)  # type: ignore[arg-type]
    index = node.args[1]
    if isinstance(value, Constant):
        return _folded(walk, node)
    first = value.lead.index("T") if "T" in value.lead else 0
    if isinstance(index, tuple) and len(index) > first:  # x[t, :, :], x[:, t]
        rest = index[:first] + index[first + 1 :]
        index = index[first] if all(i in (slice(None), Ellipsis) for i in rest) else None
    elif first:
        return False
    if value.lead not in (SEQUENCE, SEQUENCE[::-1]):
        return False
    if not isinstance(index, int) or not walk.inside_sequence(scope(node)):
        return False
    if not -walk.steps <= index < walk.steps:
        raise IndexError(index)  # which ends a for loop
    walk.values[node] = replace(value, lead=STEP, at=index % walk.steps)
    return True


# ---- joins ------------------------------------------------------------------------------------


def _stack(walk: Walk, node: fx.Node) -> bool:
    """What every step made, in order, as a sequence again."""
    parts = node.args[0]
    dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
    if not isinstance(parts, list | tuple) or not all(isinstance(p, fx.Node) for p in parts):
        return False
    states = [walk.values.get(p) for p in parts]  # type: ignore[arg-type]
    if states and all(isinstance(v, State) and walk.membrane(v) is None for v in states):
        walk.values[node] = states[0]  # refused where something reads it
        return True
    made = [walk.value(p, node) for p in parts]  # type: ignore[arg-type]
    values = [v for v in made if isinstance(v, Value) and v.lead == STEP and v.at is not None]
    if len(values) != len(made) or not made:
        return False
    if dim not in (0, 1) or [v.at for v in values] != list(range(walk.steps)):
        raise CaptureError(
            "not every step in its order is stacked along an axis of time",
            where=scope(node) or "the model's forward",
            found=f"steps {[v.at for v in values]} along axis {dim}",
            allowed=f"steps 0 to {walk.steps - 1} along axis 0 or 1",
            remedy="state the number of steps that the model has",
        )
    if len({v.form.key() for v in values}) > 1:
        raise CaptureError(
            "the steps of the forward's loop differ",
            where=scope(node) or "the model's forward",
            found="what is stacked is not the same value of every step",
            allowed="every step does what step 0 does",
        )
    lead = SEQUENCE if dim == 0 else SEQUENCE[::-1]
    walk.values[node] = replace(values[0], lead=lead, at=None)
    return True


def _cat(walk: Walk, node: fx.Node) -> bool:
    """Along the channels."""
    parts = node.args[0]
    dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
    if not isinstance(parts, list | tuple) or not isinstance(dim, int):
        return False
    flat: list[Value] = []
    for p in parts:
        known = walk.values.get(p)  # type: ignore[arg-type]
        made = known if isinstance(known, Joined) else walk.value(p, node)  # type: ignore[arg-type]
        flat += (
            made.parts if isinstance(made, Joined) else [made] if isinstance(made, Value) else []
        )
    leads = {v.lead for v in flat}
    if not all(isinstance(v, Value) for v in flat) or len(leads) != 1:
        return False
    rank = len(flat[0].lead) + len(flat[0].shape)
    places = {v.shape[1:] for v in flat}
    if dim % rank != len(flat[0].lead) or len(places) > 1:
        raise CaptureError(
            "tensors are concatenated along another axis than their channels",
            where=scope(node) or "the model's forward",
            found=f"{' and '.join(v.said for v in flat)} along axis {dim}",
            allowed=f"axis {len(flat[0].lead)} there, and equal places",
            remedy="concatenate channels (C, H, W) or features (F,)",
        )
    common_step(flat, scope(node))
    walk.values[node] = Joined(tuple(flat)) if len(flat) > 1 else flat[0]
    return True


_DROPOUTS: dict[Any, str] = {
    **{getattr(functional, n): "training" for n in dir(functional) if n.endswith("dropout")},
    **dict.fromkeys((functional.dropout1d, functional.dropout2d, functional.dropout3d), "training"),
    **{getattr(torch, n): "train" for n in ("dropout", "alpha_dropout", "feature_dropout")},
}
_DEFAULTS = {"p": 0.5, "training": True}


def _dropped(walk: Walk, node: fx.Node) -> bool:
    """``dropout(x, p, self.training)``: nothing, in evaluation."""
    names = ("input", "p", _DROPOUTS[node.target])
    given = _DEFAULTS | dict(zip(names, node.args, strict=False)) | node.kwargs
    source = given.get("input")
    if not isinstance(source, fx.Node) or (
        given.get(names[2], True) is not False and given["p"] != 0
    ):
        return False
    walk.values[node] = walk.value(source, node, True)
    return True


_JOINS = {torch.stack: _stack, torch.cat: _cat, torch.concat: _cat, torch.concatenate: _cat}
_MEANS = (torch.mean, "mean")


def _mean(walk: Walk, node: fx.Node) -> bool:
    """``x.mean(0)`` of a sequence, or over the places of an image."""
    if not node.args or set(node.kwargs) - {"dim", "keepdim"}:
        return False
    value = walk.value(node.args[0], node, True)  # type: ignore[arg-type]
    dims = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    keep = node.kwargs.get("keepdim", node.args[2] if len(node.args) > 2 else False)
    if isinstance(value, Constant):
        return _folded(walk, node)
    rank = len(value.lead) + len(value.shape)
    given = [dims] if isinstance(dims, int) else dims
    if not isinstance(given, list | tuple) or not all(isinstance(d, int) for d in given):
        return False
    if not isinstance(value, Value) or value.order is not None:
        return False
    over, path = sorted(d % rank for d in given), scope(node)
    if over == [0] and not fits(value):
        value = walk.value(node.args[0], node)  # type: ignore[arg-type]
    reads = [(walk.nodes.edge(value.form, value.path), value)]
    leads = len(value.lead)
    if over == [value.lead.index("T")] and not keep and leads == 2 if "T" in value.lead else False:
        name = f"{path}.mean" if path else "mean"
        walk.values[node] = walk.add(name, ops.TimeMean(walk.steps), reads, path)
        return True
    if over == [leads + 1, leads + 2] and len(value.shape) == 3:
        name, size = f"{path}.mean" if path else "mean", (value.shape[1], value.shape[2])
        pooled = walk.add(name, ops.AvgPool2d(size, size), reads, path)
        if not keep:
            flat = [(walk.nodes.edge(pooled.form, path), pooled)]
            pooled = walk.add(f"{name}.flatten", ops.Flatten(), flat, path)
        walk.values[node] = pooled
        return True
    return False


# ---- arithmetic -------------------------------------------------------------------------------


def _computed(walk: Walk, node: fx.Node) -> bool:
    """Arithmetic; False if it is none, or takes something else than tensors and numbers."""
    name, in_place = arithmetic.name_of(node.target)
    if not name or (node.op == "call_method" and name in ("max", "min") and len(node.args) < 2):
        return False
    path = scope(node)
    operands = [walk.value(a, node, True) for a in node.all_input_nodes]
    if any(isinstance(v, Joined) for v in operands):
        raise CaptureError(
            "arithmetic on concatenated channels",
            where=path or "the model's forward",
            found=node.format_node() or node.name,
            allowed="layers and neurons on them",
            remedy="compute it on each part, in front of torch.cat",
        )
    if in_place or arithmetic.in_place(name, node.args, node.kwargs):
        walk.change(node, path)
    tensors = [v for v in operands if isinstance(v, Value)]
    if not tensors:
        return _folded(walk, node)
    if not tokens.aligned(tensors):
        return _apart(walk, node, name, tensors, path)
    if name == "add" and _summed(walk, node, path):
        return True
    for value in tensors:
        walk.nodes.look(value.form)
    values = tokens.with_constants(walk, node, tensors[0])
    try:
        found = arithmetic.compute(name, node.target, node.args, node.kwargs, values, walk.nodes)
    except IRError as e:
        if name == "mul" and tokens.product(walk, node, path):
            return True
        raise refused(e, path or "the model's forward") from None
    if found is None:
        return False
    form, kind = found
    walk.values[node] = _like(tensors, walk.nodes.gated(form, path), kind, path)
    return True


def _apart(walk: Walk, node: fx.Node, name: str, tensors: list[Value], path: str) -> bool:
    """Arithmetic on tensors whose numbers do not stand on one another: a mask that is spread."""
    if name in _ANDS and tokens.masked(walk, node, tensors, path):
        return True
    if name == "mul" and tokens.product(walk, node, path):
        return True
    known = [v for v in tensors if v.shape == tensors[0].shape]
    if walk.products and len(known) == len(tensors):  # behind one
        walk.values[node] = tokens.unknown(walk, max(tensors, key=lambda v: v.order is None), path)
        return True
    shapes = " and ".join(f"{v.said} of a map {v.form.shape}" for v in tensors)
    raise CaptureError(
        "values of different shapes or orders meet",
        where=path or "the model's forward",
        found=f"{node.format_node() or node.name}: {shapes}",
        allowed="numbers one by one; a mask of spikes on spikes, spread over places or channels",
        remedy="bring both to one shape (C, H, W)",
    )


_ANDS = ("mul", "minimum", "logical_and", "bitwise_and")


def _summed(walk: Walk, node: fx.Node, path: str) -> bool:
    """A sum of two tensors that is not a gate: a node of its own, in its place."""
    values = [walk.values.get(a) if isinstance(a, fx.Node) else None for a in node.args]
    tensors = [v for v in values if isinstance(v, Value) and v.kind != "bool"]
    if len(tensors) != 2 or len(values) != 2 or node.kwargs:
        return False
    a, b = tensors
    if a.form.shape != b.form.shape or not walk.nodes.written(a.form, b.form):
        return False
    total = plus(a.form, b.form)
    if walk.nodes.gated(total, path).key() != total.key():
        return False
    reads = [walk.nodes.edge(v.form, v.path) for v in tensors]
    kind: Kind = "float" if "float" in (a.kind, b.kind) else "int"
    known = walk.rolled(("add", *reads), tensors)
    form = walk.nodes.form(known) if known else walk.nodes.sum(reads, path)
    walk.roll(("add", *reads), walk.nodes.edge(form, path), tensors)
    walk.values[node] = _like(tensors, form, kind, path)
    return True


def _like(tensors: Sequence[Value], form: Form, kind: Kind, path: str) -> Value:
    leads = {v.lead for v in tensors}
    if len(leads) > 1:
        raise CaptureError(
            "tensors with different axes for time and samples meet",
            where=path or "the model's forward",
            found=" and ".join(sorted({v.said for v in tensors})),
            allowed="one form: (T, B, ...), (B, ...), or (T B, ...)",
            remedy="bring both to one form",
        )
    at, frame = common_step(tensors, path), all(v.frame for v in tensors)
    interop.common_slots(ops.Add(), tensors, path)
    return replace(tensors[0], form=form, kind=kind, at=at, frame=frame, path=path)


def _folded(walk: Walk, node: fx.Node) -> bool:
    """A function of parameters alone, computed as torch does, in float64."""

    def tensor(n: fx.Node) -> Tensor:
        found: Tensor = walk.values[n].tensor.detach()
        return found.double() if found.is_floating_point() else found

    args: tuple[Any, ...] = fx.node.map_arg(node.args, tensor)
    kwargs: dict[str, Any] = fx.node.map_arg(node.kwargs, tensor)
    if isinstance(node.target, str):
        made = getattr(args[0], node.target.removesuffix("_"))(*args[1:], **kwargs)
    else:
        made = node.target(*args, **kwargs)
    walk.values[node] = Constant(made)
    return True
