"""From a torch module to the compiler's graph, by tracing it with torch.fx.

Every module of ``torch.nn`` and of this trainer is one or two nodes; anything that the compiler
does not know stops the capture with its module path. Nothing is skipped, guessed or degraded.
"""

from __future__ import annotations

import copy
import inspect
import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch
from torch import fx, nn

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.compiler.ir.graph import Graph, Node
from purespike.trainer.capture import arithmetic
from purespike.trainer.capture.conversions import CaptureError, is_operation
from purespike.trainer.capture.interop import recognize as interop
from purespike.trainer.capture.interop.spikingjelly import sew_function
from purespike.trainer.capture.pending import refuse_decision
from purespike.trainer.capture.remembered import mark_kept
from purespike.trainer.capture.values import Axis, handed, relead, returned
from purespike.trainer.capture.walk import Walk
from purespike.trainer.capture.weights import computes_weights, settled_copy
from purespike.trainer.nn import gates, layers
from purespike.trainer.nn.auxiliary import Accumulate
from purespike.trainer.nn.levels import ILIF
from purespike.trainer.nn.neuron import Neuron

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


_LEAVES = (Neuron, ILIF, Accumulate, layers.TimeMean, *gates.GATES.values())


class _Proxy(fx.Proxy):
    """A tensor that is traced; its element type and place are known.

    ``a += b`` is recorded as what it is, a change of ``a``; fx alone takes it for ``a + b``.
    """

    tracer: _Tracer

    @property
    def dtype(self) -> torch.dtype:
        """float32 stands for whatever type the network has."""
        return self.tracer.walk.dtype(self.node)

    @property
    def device(self) -> torch.device:
        """Where the copy is that is traced."""
        return torch.device("cpu")

    def size(self, dim: int | None = None) -> Any:
        """Of all axes, or of one; the number of samples is made up."""
        sizes = self.tracer.walk.sizes_of(self.node)
        return torch.Size(sizes) if dim is None else sizes[dim]

    @property
    def shape(self) -> torch.Size:
        """The sizes of all axes."""
        return torch.Size(self.size())

    def dim(self) -> int:
        """How many axes there are."""
        return len(self.size())

    ndimension = dim

    @property
    def ndim(self) -> int:
        """How many axes there are."""
        return self.dim()

    def __len__(self) -> int:
        return int(self.size(0))

    def __iter__(self) -> Iterator[Any]:
        """The steps of a sequence, or the spikes and states of a neuron."""
        parts = self.tracer.walk.parts_of(self.node)
        return iter([self[t] for t in range(parts)]) if parts else super().__iter__()

    def __float__(self) -> float:
        return self.tracer.refuse_decision(self, float)

    def __int__(self) -> int:
        return self.tracer.refuse_decision(self, int)

    def __getitem__(self, index: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.getitem, (self, index), {})


def _in_place(change: Any) -> Any:
    def record(self: fx.Proxy, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", change, (self, other), {})

    return record


for _change in arithmetic.IN_PLACE:
    setattr(_Proxy, f"__{_change.__name__}__", _in_place(_change))


class _Tracer(fx.Tracer):
    """Stops at modules that are operations of the graph, and at SEW's joins of SpikingJelly.

    Every operation is handed to a walk at once, so that shapes are known while the forward runs.
    """

    def __init__(self, walk: Walk) -> None:
        sew = sew_function()
        super().__init__(autowrap_functions=() if sew is None else (sew,))
        self.walk = walk
        self._busy = False  # while the walk looks at an operation
        self._submodules = set(walk.model.modules())

    def create_proxy(self, kind: str, *args: Any, **kwargs: Any) -> fx.Proxy:
        proxy = super().create_proxy(kind, *args, **kwargs)
        self._busy = True
        try:
            self.walk.visit(proxy.node)
        finally:
            self._busy = False
        return proxy

    def refuse_decision(self, obj: fx.Proxy, kind: type) -> NoReturn:
        """A forward makes a Python value of a tensor."""
        self.walk.failed = refuse_decision(obj.node, kind)
        raise self.walk.failed

    def to_bool(self, obj: fx.Proxy) -> NoReturn:
        """A forward branches on a tensor."""
        self.refuse_decision(obj, bool)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        """A parameter is a tensor to the walk, which reads its values, and traced elsewhere."""
        if self._busy:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def relead(self, x: fx.Proxy, lead: tuple[Axis, ...], frame: bool = False) -> fx.Proxy:
        """Time becomes implicit from here on, or is there again."""
        return self.create_proxy("call_function", relead, (x, lead, frame), {})

    def lead(self, x: fx.Proxy) -> tuple[Axis, ...]:
        """The axes in front of those of a sample."""
        lead: tuple[Axis, ...] = self.walk.values[x.node].lead
        return lead

    def handed(self, x: fx.Proxy, index: int) -> fx.Proxy:
        """A state that the caller hands to a step."""
        return self.create_proxy("call_function", handed, (x, index), {})

    def returned(self, states: Any, before: Any) -> None:
        """The states that a step returns, for those that it was handed."""
        self.create_proxy("call_function", returned, (tuple(states), tuple(before)), {})

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """A tensor for every argument without a default, as in a call ``model(x)``."""
        _, *parameters = inspect.signature(root_fn).parameters.values()
        many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        needed = [p.name for p in parameters if p.default is p.empty and p.kind not in many]
        return root_fn, [self.root, *(self.create_proxy("placeholder", n, (), {}) for n in needed)]

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if self._busy:
            return forward(*args, **kwargs)
        foreign = _is_operation(m) or interop.is_container(m)
        own = m in self._submodules or foreign
        if not own and not any(True for _ in (*m.parameters(), *m.buffers())):
            return forward(*args, **kwargs)  # of the file, not of the model: a function
        if own and len(args) == 1 and not kwargs and isinstance(args[0], _Proxy):
            path = self.path_of_module(m)
            self._busy = True  # its forward may be tried
            try:
                known = self.walk.known_by_hand(path, m, args[0].node)
            finally:
                self._busy = False
            if known:
                return self.create_proxy("call_module", path, args, kwargs)
        if isinstance(m, nn.Sequential) and interop.is_sequence(m):  # its modules, without time
            forward = partial(nn.Sequential.forward, m)
        return super().call_module(m, forward, args, kwargs)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if isinstance(m, _LEAVES) or _is_operation(m):
            return True
        if isinstance(m, nn.Sequential | nn.ModuleList | nn.ModuleDict | nn.Hardtanh):
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
        dt: Seconds per time step.

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
        model = settled_copy(model, shared)
        walk = _walked(model, shape, steps, domain, 2)
        if walk.measured:  # nothing of the network may hang on the number of samples
            _refuse_samples(walk, _walked(copy.deepcopy(model, shared), shape, steps, domain, 3))
    except PurespikeError:
        raise
    except Exception as e:  # a forward may fail in any way when it meets no real tensor
        raise CaptureError(
            "the model's forward cannot be traced",
            found="; ".join(str(e).splitlines()[:1]) or type(e).__name__,
            where=type(model).__name__,
            allowed="calls of submodules, arithmetic and views of tensors; no branches on values",
            remedy="move the computation into a module that purespike knows",
        ) from e
    draft = walk.graph(dt)
    graph = replace(draft, nodes=tuple(_with_roles(draft, walk.main)))
    return Capture(graph, _dead(model, graph))


def _walked(
    model: nn.Module, shape: tuple[int, ...], steps: int, domain: Domain, samples: int
) -> Walk:
    walk = Walk(model, shape, steps, domain, samples)
    _traced(walk, model)
    if steps > 1 and mark_kept(model):
        _traced(Walk(model, shape, steps, domain, samples), model)
    return walk


def _traced(walk: Walk, model: nn.Module) -> None:
    try:
        for node in _Tracer(walk).trace(model).nodes:
            if node.op == "output":
                walk.visit(node)
        if walk.failed is not None:  # and the forward went on
            raise walk.failed
    except PurespikeError as e:
        if walk.products:
            raise _refused_products(walk, f"; behind them {e.message} ({e.where})") from e
        raise
    except Exception as e:
        if walk.pending is None:
            raise
        raise walk.pending.error from e
    if walk.products:
        raise _refused_products(walk)


def _refused_products(walk: Walk, more: str = "") -> CaptureError:
    """All of them at once, each with its module and line."""
    count = len(walk.products)
    return CaptureError(
        "the network multiplies what it computes with each other, "
        f"{count} time{'s' * (count > 1)}: no synapse has a weight that arrives as spikes",
        where=walk.products[0].path or type(walk.model).__name__,
        found="; ".join(dict.fromkeys(p.said for p in walk.products)) + more,
        allowed="products with constants, ANDs of spikes, masks of spikes spread over tokens or "
        "channels (SDSA-1, QK attention)",
        remedy="take attention that masks (SpikeDrivenSelfAttention, QKAttention of SpikingJelly), "
        "or leave these products to the host",
    )


def _refuse_samples(one: Walk, other: Walk) -> None:
    """Are both the same network?"""
    graphs = [w.graph(1.0) for w in (one, other)]
    parameters = [[a for n in g.nodes for a in n.op.arrays().values()] for g in graphs]
    same = str(graphs[0]) == str(graphs[1]) and len(parameters[0]) == len(parameters[1])
    if not same or not all(map(np.array_equal, *parameters)):
        raise CaptureError(
            "the network depends on the number of samples",
            where=type(one.model).__name__,
            found=f"another network for {one.samples} samples than for {other.samples}",
            allowed="sizes that are only used to reshape",
            remedy="use numbers of the model in its arithmetic, not sizes of a batch",
        )


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
        before = [h for h in module._forward_pre_hooks.values() if not computes_weights(h)]
        hooks = [*before, *module._forward_hooks.values()]
        if hooks and _is_operation(module):
            raise CaptureError(
                f"this {type(module).__name__} has hooks",
                where=path,
                found=", ".join(str(hook) for hook in hooks),
                allowed="modules without forward hooks",
                remedy="remove the hooks",
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
