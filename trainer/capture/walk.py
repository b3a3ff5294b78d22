"""From the operations that torch.fx traced to nodes of the compiler's graph."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn

from purespike.compiler.ir import ops
from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.compiler.ir.graph import Edge, Graph, IRError, Node, Op, Role
from purespike.trainer.capture.conversions import CaptureError, converter
from purespike.trainer.capture.interop import recognize as interop
from purespike.trainer.capture.interop.imported import Spikes
from purespike.trainer.nn.auxiliary import is_auxiliary

__all__ = ["Walk"]

_SUMS = (operator.add, operator.iadd, torch.add)


class Walk:
    """One pass over the traced operations, in order.

    Args:
        model: what was traced.
        traced: its operations.
        shape: of one sample at one step.
        steps: T.
        domain: what the input carries.

    Attributes:
        input: the edge that the model reads.
        nodes: of the graph, in order; all of role 'main' that stand in no auxiliary module.
        outputs: names of the output edges, the deployed one first.
        main: the deployed one.

    Raises:
        CaptureError: if an operation has no meaning in the graph.
    """

    def __init__(
        self, model: nn.Module, traced: fx.Graph, shape: tuple[int, ...], steps: int, domain: Domain
    ) -> None:
        self.modules = dict(model.named_modules())
        self.steps = steps
        self.nodes: list[Node] = []
        self.outputs: tuple[str, ...] = ()
        self.main = ""
        self._edges: dict[fx.Node, str] = {}
        self._types: dict[str, Edge] = {}
        self._timeless: set[str] = set()  # (B, ...) in torch: averaged over time
        self._pairs: set[fx.Node] = set()  # (spikes, state) of a neuron of another framework
        self._stateful: set[int] = set()  # those neurons that have been called
        placeholders = [n for n in traced.nodes if n.op == "placeholder"]
        if len(placeholders) != 1:
            raise CaptureError(
                "the model must take exactly one input",
                found=", ".join(n.name for n in placeholders),
                where=type(model).__name__,
                remedy="join the inputs as channels of one tensor; fix other arguments in a module "
                "around the model",
            )
        self.input = Edge(placeholders[0].name, shape, domain)
        self._types[self.input.name] = self.input
        for node in traced.nodes:
            self._visit(node)

    def _visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self._edges[node] = self.input.name
        elif node.op == "call_module":
            path = str(node.target)
            self._convert(node, path, self.modules[path])
        elif node.op == "call_function" and node.target in _SUMS:
            path = _scope(node)
            if node.target is operator.iadd and len(node.all_input_nodes[0].users) > 1:
                raise CaptureError(
                    "+= changes a tensor that something else reads too",
                    where=path or "the model's forward",
                    found=node.format_node() or node.name,
                    remedy="write a = a + b, which makes a new tensor",
                )
            name = self._fresh(f"{path}.add" if path else "add")
            self._edges[node] = self._add(name, ops.Add(), self._reads(node, path), path)
        elif node.target is operator.getitem and node.args[0] in self._pairs:
            self._item(node)
        elif node.op == "output":
            self._finish(node.args[0])
        elif not self._called(node):
            target = getattr(node.target, "__name__", str(node.target))
            raise CaptureError(
                f"the compiler has no operation for {target}",
                where=_scope(node) or "the model's forward",
                found=node.format_node() or target,
                allowed="modules of torch.nn and purespike.trainer that capture knows, and +",
                remedy="express it with layers, neurons and gates of purespike.trainer"
                if node.op != "get_attr"
                else "make constants part of a module; neurons of other frameworks keep their "
                "state themselves: call them without it, for one step, and give Imported(model)",
            )

    def _item(self, node: fx.Node) -> None:
        """One of (spikes, state)."""
        pair = node.args[0]
        if node.args[1] == 0 and isinstance(pair, fx.Node):
            self._edges[node] = self._edges[pair]
        elif node.users:
            raise CaptureError(
                "the model reads the membrane of a neuron",
                where=_scope(node) or "the model's forward",
                found=node.format_node() or node.name,
                allowed="its spikes",
                remedy="read out spikes, or the current of a last layer without a neuron",
            )

    def _called(self, node: fx.Node) -> bool:
        """Convert the call of a function that means what a module means; False if none does."""
        path = _scope(node)
        joined = interop.join(node.target, node.args)
        if joined is not None:
            op, kind, args = joined
            name = self._fresh(f"{path}.{kind}")
            self._edges[node] = self._add(name, op, self._reads(node, path, args), path)
            return True
        mode = interop.mode_at(self.modules, f"{path}.()" if path else "()")
        module = interop.module_of_call(node.target, node.args[1:], node.kwargs, mode)
        if module is None:
            return False
        reads = self._reads(node, path, node.args[:1])
        name = f"{path}.{type(module).__name__.lower()}"
        self._edges[node] = self._apply(reads, path, name, module, mode)
        return True

    def _convert(self, node: fx.Node, path: str, module: nn.Module) -> None:
        if interop.is_stateful(module):
            if id(module) in self._stateful:
                raise CaptureError(
                    f"this {type(module).__name__} is called twice",
                    where=path,
                    allowed="one call: it keeps its membrane from one to the next",
                    remedy="leave the loop over time to Imported(model), or use two neurons",
                )
            self._stateful.add(id(module))
        mode = interop.mode_at(self.modules, path)
        self._edges[node] = self._apply(self._reads(node, path), path, path, module, mode)
        if interop.gives_state(module):
            self._pairs.add(node)

    def _apply(
        self, reads: tuple[str, ...], path: str, name: str, module: nn.Module, mode: interop.Mode
    ) -> str:
        convert = interop.converter(module, mode, path) or converter(module, path)
        try:
            converted = convert(module, self._types[reads[0]].shape, self.steps, path)
        except IRError as e:  # a parameter that has no meaning: say whose
            e.where = e.where or path
            raise
        for suffix, op in converted:
            reads = (self._add(self._fresh(f"{name}{suffix}"), op, reads, path),)
        return reads[0]

    def _add(self, name: str, op: Op, reads: tuple[str, ...], path: str) -> str:
        timeless = self._timeless.intersection(reads)
        if timeless:
            self._timeless.add(name)
        if timeless and (
            len(timeless) < len(set(reads)) or not isinstance(op, ops.Linear | ops.Add | ops.Relu)
        ):
            raise CaptureError(
                "something reads a mean over time as if it were a sequence",
                where=path or "the model's forward",
                found=f"{type(op).__name__} of {', '.join(reads)}",
                allowed="linear layers, ReLU, and sums of means",
                remedy="average over time at the end, after neurons and flattening",
            )
        if isinstance(op, ops.TimeMean):
            self._timeless.add(name)
        marked = any(is_auxiliary(self.modules[p]) for p in ("", *_prefixes(path)))
        role: Role = "auxiliary" if marked else "main"
        known = tuple(self._types.values())
        draft = Node(op, reads, Edge(name, (), SPIKE), role, path)
        (node,) = Graph(known, (), (), self.steps).rebuilt([draft]).nodes
        self._types[name] = node.output
        self.nodes.append(node)
        return name

    def _reads(
        self, node: fx.Node, path: str, tensors: tuple[Any, ...] | None = None
    ) -> tuple[str, ...]:
        """The edges that a call takes: all its arguments, or those that are tensors."""
        args = node.args if tensors is None else tensors
        if (tensors is None and node.kwargs) or not all(isinstance(a, fx.Node) for a in args):
            raise CaptureError(
                "an operation takes something that is no tensor of the network",
                where=path or "the model's forward",
                found=node.format_node() or node.name,
                remedy="make constants part of a module",
            )
        if self._pairs.intersection(args) and not isinstance(self.modules.get(path), Spikes):
            raise CaptureError(
                "an operation takes the spikes of a neuron together with its state",
                where=path or "the model's forward",
                found=node.format_node() or node.name,
                remedy="make the neuron with init_hidden=True and without output=True",
            )
        return tuple(self._edges[a] for a in args if isinstance(a, fx.Node))

    def _fresh(self, name: str) -> str:
        count = 2
        fresh = name
        while fresh in self._types:
            fresh = f"{name}-{count}"
            count += 1
        return fresh

    def _finish(self, result: Any) -> None:
        if isinstance(result, fx.Node):
            result = {"main": result}
        entries = dict(result) if isinstance(result, Mapping) else {}
        entries = {k: v for k, v in entries.items() if v is not None}
        if not all(isinstance(v, fx.Node) for v in entries.values()) or "main" not in entries:
            raise CaptureError(
                "the model does not say which output is deployed",
                found=f"{type(result).__name__} {result}",
                allowed="a tensor, or a dict of tensors with the entry 'main'",
                where="the model's forward",
                remedy="return the output to deploy under the key 'main'",
            )
        result = entries
        self.main = self._edges[result["main"]]
        rest = [self._edges[v] for k, v in result.items() if k != "main"]
        self.outputs = (self.main, *rest)


def _scope(node: fx.Node) -> str:
    """The path of the module in whose forward an operation stands."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [v[0] if isinstance(v, tuple) else k for k, v in stack.items()]
    return str(paths[-1]) if paths else ""


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".") if path else []
    yield from (".".join(parts[:k]) for k in range(1, len(parts) + 1))
