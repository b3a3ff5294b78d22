"""From a torch module to the compiler's graph, by tracing it with torch.fx.

Every module of ``torch.nn`` and of this trainer is one or two nodes; anything that the compiler
does not know stops the capture with its module path. Nothing is skipped, guessed or degraded.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from purespike.compiler import ops
from purespike.compiler.domain import SPIKE, Domain
from purespike.compiler.ir import Edge, Graph, IRError, Node, Op, Role
from purespike.trainer import gates, layers
from purespike.trainer.auxiliary import Accumulate, is_auxiliary
from purespike.trainer.conversions import (
    CaptureError,
    converter,
    is_operation,
)
from purespike.trainer.interop import recognize as interop
from purespike.trainer.interop.imported import Spikes
from purespike.trainer.interop.spikingjelly import sew_function
from purespike.trainer.neuron import Neuron

__all__ = ["Capture", "CaptureError", "capture"]


@dataclass(frozen=True)
class Capture:
    """What was captured.

    Attributes:
        graph: The graph of everything the module computes, auxiliary paths included.
        dead: Parameters that no output depends on, by name.
    """

    graph: Graph
    dead: tuple[str, ...]


_LEAVES = (Neuron, Accumulate, layers.TimeMean, *gates.GATES.values())
_SUMS = (operator.add, operator.iadd, torch.add)


class _Proxy(fx.Proxy):
    """Records ``a += b`` as what it is, a change of ``a``; fx alone takes it for ``a + b``."""

    def __iadd__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})


class _Tracer(fx.Tracer):
    """Stops at modules that are operations of the graph, and at SEW's joins of SpikingJelly."""

    def __init__(self) -> None:
        sew = sew_function()
        super().__init__(autowrap_functions=() if sew is None else (sew,))

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if isinstance(m, nn.Sequential) and interop.is_container(m):  # its modules, without time
            forward = partial(nn.Sequential.forward, m)
        return super().call_module(m, forward, args, kwargs)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, _LEAVES) or _is_operation(m):
            return True
        if isinstance(m, nn.Sequential | nn.ModuleList | nn.ModuleDict):
            return False
        return super().is_leaf_module(m, module_qualified_name)


def _is_operation(module: nn.Module) -> bool:
    return is_operation(module) or interop.is_foreign(module)


def capture(
    model: nn.Module,
    shape: tuple[int, ...],
    steps: int,
    *,
    domain: Domain = SPIKE,
    dt: float = 1e-3,
) -> Capture:
    """The graph of ``model``, as it computes in evaluation mode.

    Args:
        model: Takes (T, B, *shape); returns a tensor, or a dict whose entry ``'main'`` is
            deployed and whose other entries are auxiliary.
        shape: Of one sample at one step, (C, H, W) or (F,).
        steps: T.
        domain: What the input carries; spikes unless said otherwise.
        dt: Seconds a time step.

    Returns:
        The graph, its weights in float64, and the parameters that nothing depends on.

    Raises:
        CaptureError: If the model cannot be traced, or does something that the graph has no
            operation for; the message names the module.
        IRError: If shapes do not fit.
    """
    _refuse_hooks(model)
    try:
        # The copy keeps its own mode and buffers; parameters are large, and tracing writes to none.
        shared: dict[int, Any] = {id(p): p for p in model.parameters()}
        model = copy.deepcopy(model, shared).eval()
        traced = _Tracer().trace(model)
    except Exception as e:  # a forward may fail in any way when it meets no real tensor
        raise CaptureError(
            "the model's forward cannot be traced",
            found="; ".join(str(e).splitlines()[:1]) or type(e).__name__,
            where=type(model).__name__,
            allowed="calls of submodules and additions; no branches on values, no shape reading",
            remedy="move the computation into a module that purespike knows",
        ) from e
    walk = _Walk(model, traced, shape, steps, domain)
    draft = Graph((walk.input,), (), walk.outputs, steps, dt).rebuilt(walk.nodes)
    graph = replace(draft, nodes=tuple(_with_roles(draft, walk.main)))
    return Capture(graph, _dead(model, graph))


def _refuse_hooks(model: nn.Module) -> None:
    """A hook may change what a module computes, and tracing stops in front of it.

    Tracing runs the forward of the model's class: hooks on the model itself, or a forward or call
    of its own, would be passed over in silence.
    """
    called = type(model).__call__ is not nn.Module.__call__ or "forward" in vars(model)
    if model._forward_pre_hooks or model._forward_hooks or called:
        raise CaptureError(
            "the model does more than the forward of its class",
            where=type(model).__name__,
            found="a forward or __call__ of its own"
            if called
            else "hooks: "
            + ", ".join(
                map(str, [*model._forward_pre_hooks.values(), *model._forward_hooks.values()])
            ),
            allowed="a module whose forward says all that it computes",
            remedy="remove the hooks, or do their work in a forward that calls submodules",
        )
    for path, module in model.named_modules():
        hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
        if hooks and _is_operation(module):
            raise CaptureError(
                f"this {type(module).__name__} has hooks",
                where=path,
                found=", ".join(str(hook) for hook in hooks),
                allowed="modules without forward hooks",
                remedy="remove the hooks, of weight norm with torch.nn.utils.remove_weight_norm",
            )


def _dead(model: nn.Module, graph: Graph) -> tuple[str, ...]:
    """Names of the parameters that no output depends on; tied ones live if one of them does."""
    needed = graph.ancestors(graph.outputs)
    paths = {n.origin for n in graph.nodes if n.name in needed}
    live = {
        id(p)
        for path, module in model.named_modules(remove_duplicate=False)
        if path in paths and _is_operation(module)
        for p in module.parameters()
    }
    return tuple(name for name, p in model.named_parameters() if id(p) not in live)


def _with_roles(graph: Graph, main: str) -> Iterator[Node]:
    """What only auxiliary outputs see is auxiliary too: a shared classifier's second use."""
    needed = graph.ancestors([main])
    tainted = {n.name for n in graph.nodes if n.role == "auxiliary"}
    for node in graph.nodes:
        side = node.name not in needed
        if side and (node.name in graph.outputs or not tainted.isdisjoint(node.inputs)):
            tainted.add(node.name)
            node = replace(node, role="auxiliary")
        yield node


class _Walk:
    """One pass over the traced operations, in order."""

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
