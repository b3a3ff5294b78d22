"""From the operations that torch.fx traces to nodes of the compiler's graph, one at a time."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from purespike.compiler.ir.domain import Domain
from purespike.compiler.ir.forms import Form, plus
from purespike.compiler.ir.graph import Edge, IRError, Role
from purespike.trainer.capture import arithmetic
from purespike.trainer.capture.conversions import CaptureError, converter, refused
from purespike.trainer.capture.interop import recognize as interop
from purespike.trainer.capture.interop.imported import Spikes
from purespike.trainer.capture.nodes import Nodes
from purespike.trainer.capture.values import SEQUENCE, Constant, Kind, State, Value
from purespike.trainer.nn.auxiliary import is_auxiliary

__all__ = ["Walk"]


class Walk:
    """Follows a forward while it is traced.

    Args:
        model: what is traced.
        shape: of one sample at one step.
        steps: T.
        domain: what the input carries.

    Attributes:
        input: the edge that the model reads.
        outputs: names of the output edges, the deployed one first.
        main: the deployed one.
        failed: what was refused, for a forward that catches errors.

    Raises:
        CaptureError: if an operation has no meaning in the graph.
    """

    def __init__(
        self, model: nn.Module, shape: tuple[int, ...], steps: int, domain: Domain
    ) -> None:
        self.model = model
        self.modules = dict(model.named_modules())
        self.steps = steps
        self.outputs: tuple[str, ...] = ()
        self.main = ""
        self.failed: Exception | None = None
        self.input = Edge("", shape, domain)
        self._domain = domain
        self._nodes: Nodes | None = None
        self._placeholders: list[fx.Node] = []
        self._values: dict[fx.Node, Any] = {}
        self._changed: set[fx.Node] = set()  # by an operation in place
        self._pairs: set[fx.Node] = set()  # (spikes, state) of a neuron of another framework
        self._stateful: set[int] = set()  # those neurons that have been called

    def visit(self, node: fx.Node) -> None:
        """Take in one traced operation.

        Raises:
            CaptureError: If it has no meaning in the graph.
            IRError: If it does not fit.
        """
        try:
            self._visit(node)
        except IRError as e:
            e.where = e.where or _scope(node) or "the model's forward"
            self.failed = e
            raise
        except CaptureError as e:
            self.failed = e
            raise

    def _visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self._take(node)
            return
        _ = self.nodes  # one input
        if node.op == "output":
            self._finish(node.args[0])
        elif node.op == "call_module":
            path = str(node.target)
            self._convert(node, path, self.modules[path])
        elif node.op == "get_attr":
            self._values[node] = Constant(self._attribute(str(node.target)))
        elif node.target is operator.getitem and node.args[0] in self._pairs:
            self._item(node)
        elif not (self._computed(node) or self._called(node)):
            target = getattr(node.target, "__name__", str(node.target))
            raise CaptureError(
                f"the compiler has no operation for {target}",
                where=_scope(node) or "the model's forward",
                found=node.format_node() or target,
                allowed="modules of torch.nn and purespike.trainer that capture knows, sums, "
                "constant factors, and logic of spikes",
                remedy="express it with layers, neurons and gates of purespike.trainer",
            )

    def _take(self, node: fx.Node) -> None:
        self._placeholders.append(node)
        if len(self._placeholders) == 1:
            self.input = Edge(node.name, self.input.shape, self._domain)
            self._nodes = Nodes(self.input, self.steps, self._role)
            self._values[node] = Value(self.nodes.form(node.name), SEQUENCE, self.input.shape)

    @property
    def nodes(self) -> Nodes:
        """The graph so far; the first operation of every trace is the input."""
        if self._nodes is None or len(self._placeholders) != 1:
            raise CaptureError(
                "the model must take exactly one input",
                found=", ".join(n.name for n in self._placeholders) or "none",
                where=type(self.model).__name__,
                remedy="join the inputs as channels of one tensor; fix other arguments in a module "
                "around the model",
            )
        return self._nodes

    def _role(self, path: str) -> Role:
        marked = any(is_auxiliary(self.modules[p]) for p in ("", *_prefixes(path)))
        return "auxiliary" if marked else "main"

    def _attribute(self, target: str) -> Tensor:
        found: Any = self.model
        for part in target.split("."):
            found = getattr(found, part)
        if isinstance(found, Tensor):
            return found
        raise CaptureError(
            "the forward takes something that is no tensor", where=target, found=repr(found)
        )

    def dtype(self, node: fx.Node) -> torch.dtype:
        """The element type of a traced tensor."""
        value = self._values.get(node)
        if isinstance(value, Constant):
            return value.tensor.dtype
        kind = value.kind if isinstance(value, Value) else "float"
        return {"float": torch.float32, "int": torch.int64, "bool": torch.bool}[kind]

    # ---- calls --------------------------------------------------------------------------------

    def _item(self, node: fx.Node) -> None:
        """One of (spikes, state)."""
        pair = node.args[0]
        if node.args[1] == 0 and isinstance(pair, fx.Node):
            self._values[node] = self._values[pair]
        else:
            self._values[node] = State(str(pair.target) if isinstance(pair, fx.Node) else "")

    def _computed(self, node: fx.Node) -> bool:
        """Arithmetic; False if it is none, or takes something else than tensors and numbers."""
        name, in_place = arithmetic.name_of(node.target)
        if not name or (node.op == "call_method" and name in ("max", "min") and len(node.args) < 2):
            return False
        path = _scope(node)
        operands = [self._value(a, node) for a in node.all_input_nodes]
        if in_place:
            self._change(node, path)
        tensors = [v for v in operands if isinstance(v, Value)]
        if not tensors:
            return self._folded(node)
        if name == "add" and self._summed(node, path):
            return True
        for value in tensors:
            self.nodes.look(value.form)
        try:
            found = arithmetic.compute(name, node.target, node.args, node.kwargs, self._values)
        except IRError as e:
            raise refused(e, path or "the model's forward") from None
        if found is None:
            return False
        form, kind = found
        self._values[node] = self._like(tensors, self.nodes.gated(form, path), kind, path)
        return True

    def _summed(self, node: fx.Node, path: str) -> bool:
        """A sum of two tensors that is no gate: a node of its own, in its place."""
        values = [self._values.get(a) if isinstance(a, fx.Node) else None for a in node.args]
        tensors = [v for v in values if isinstance(v, Value) and v.kind != "bool"]
        if len(tensors) != 2 or len(values) != 2 or node.kwargs:
            return False
        a, b = tensors
        if a.shape != b.shape or not self.nodes.written(a.form, b.form):
            return False
        total = plus(a.form, b.form)
        if self.nodes.gated(total, path).key() != total.key():
            return False
        reads = [self.nodes.edge(v.form, v.path) for v in tensors]
        kind: Kind = "float" if "float" in (a.kind, b.kind) else "int"
        self._values[node] = self._like(tensors, self.nodes.sum(reads, path), kind, path)
        return True

    def _like(self, tensors: list[Value], form: Form, kind: Kind, path: str) -> Value:
        leads = {v.lead for v in tensors}
        if len(leads) > 1:
            raise CaptureError(
                "tensors with different axes for time and samples meet",
                where=path or "the model's forward",
                found=" and ".join("(" + ", ".join(lead) + ", ...)" for lead in sorted(leads)),
                allowed="one form: (T, B, ...), (B, ...), or (T B, ...)",
            )
        return Value(form, tensors[0].lead, tensors[0].shape, kind, path=path)

    def _folded(self, node: fx.Node) -> bool:
        """Arithmetic on parameters alone, computed as torch does, in float64."""
        args = [self._tensor(a) if isinstance(a, fx.Node) else a for a in node.args]
        kwargs = {
            k: self._tensor(a) if isinstance(a, fx.Node) else a for k, a in node.kwargs.items()
        }
        if isinstance(node.target, str):
            made = getattr(args[0], node.target.removesuffix("_"))(*args[1:], **kwargs)
        else:
            made = node.target(*args, **kwargs)
        self._values[node] = Constant(made)
        return True

    def _tensor(self, node: fx.Node) -> Tensor:
        tensor: Tensor = self._values[node].tensor.detach()
        return tensor.double() if tensor.is_floating_point() else tensor

    def _change(self, node: fx.Node, path: str) -> None:
        changed = node.all_input_nodes[0]
        if len(changed.users) > 1:
            self._refuse_change(node, path)
        self._changed.add(changed)

    @staticmethod
    def _refuse_change(node: fx.Node, path: str) -> None:
        raise CaptureError(
            "an operation in place changes a tensor that something else reads too",
            where=path or "the model's forward",
            found=node.format_node() or node.name,
            remedy="write a = a + b, which makes a new tensor, instead of a += b",
        )

    def _value(self, read: fx.Node, node: fx.Node) -> Any:
        """What an operation takes; refused if it has none."""
        path = _scope(node)
        if read in self._changed:
            self._refuse_change(node, path)
        if read not in self._values and read.op == "get_attr":  # a tensor that is no parameter
            self._values[read] = Constant(self._attribute(str(read.target)))
        value = self._values[read]
        if isinstance(value, State):
            raise CaptureError(
                "the model reads the membrane of a neuron",
                where=value.path,
                found=node.format_node() or node.name,
                allowed="its spikes",
                remedy="read out spikes, or the current of a last layer without a neuron",
            )
        if read in self._pairs and not isinstance(self.modules.get(str(node.target)), Spikes):
            raise CaptureError(
                "an operation takes the spikes of a neuron together with its state",
                where=path or "the model's forward",
                found=node.format_node() or node.name,
                remedy="make the neuron with init_hidden=True and without output=True",
            )
        return value

    def _called(self, node: fx.Node) -> bool:
        """Convert the call of a function that means what a module means; False if none does."""
        path = _scope(node)
        joined = interop.join(node.target, node.args)
        if joined is not None:
            op, kind, args = joined
            reads = self._reads(node, path, args)
            name = self.nodes.add(f"{path}.{kind}", op, [e for e, _ in reads], path)
            self._values[node] = self._made(name, reads[0][1])
            return True
        mode = interop.mode_at(self.modules, f"{path}.()" if path else "()")
        module = interop.module_of_call(node.target, node.args[1:], node.kwargs, mode)
        if module is None or not node.args:
            return False
        ((edge, value),) = self._reads(node, path, node.args[:1])
        name = f"{path}.{type(module).__name__.lower()}"
        self._values[node] = self._apply(edge, value, path, name, module, mode)
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
        reads = self._reads(node, path)
        if len(reads) == 1:
            self._values[node] = self._apply(*reads[0], path, path, module, mode)
        else:
            self._values[node] = self._join(reads, path, module, mode)
        if interop.gives_state(module):
            self._pairs.add(node)

    def _apply(
        self, edge: str, value: Value, path: str, name: str, module: nn.Module, mode: interop.Mode
    ) -> Value:
        for suffix, op in self._converted(value, path, module, mode):
            edge = self.nodes.add(f"{name}{suffix}", op, (edge,), path)
        return self._made(edge, value)

    def _join(
        self, reads: list[tuple[str, Value]], path: str, module: nn.Module, mode: interop.Mode
    ) -> Value:
        edges = [e for e, _ in reads]
        for suffix, op in self._converted(reads[0][1], path, module, mode):
            edges = [self.nodes.add(f"{path}{suffix}", op, edges, path)]
        return self._made(edges[0], reads[0][1])

    def _converted(
        self, value: Value, path: str, module: nn.Module, mode: interop.Mode
    ) -> list[tuple[str, Any]]:
        convert = interop.converter(module, mode, path) or converter(module, path)
        try:
            return convert(module, value.shape, self.steps, path)
        except IRError as e:  # a parameter that has no meaning: say whose
            e.where = e.where or path
            raise

    def _made(self, edge: str, like: Value) -> Value:
        return Value(self.nodes.form(edge), like.lead, self.nodes.type(edge).shape)

    def _reads(
        self, node: fx.Node, path: str, tensors: tuple[Any, ...] | None = None
    ) -> list[tuple[str, Value]]:
        """The edges that a call takes: all its arguments, or those that are tensors."""
        args = node.args if tensors is None else tensors
        values = [self._value(a, node) if isinstance(a, fx.Node) else None for a in args]
        if (tensors is None and node.kwargs) or not all(isinstance(v, Value) for v in values):
            raise CaptureError(
                "an operation takes something that is no tensor of the network",
                where=path or "the model's forward",
                found=node.format_node() or node.name,
                remedy="make constants part of a module; neurons of other frameworks keep their "
                "state themselves: call them without it, for one step, and give Imported(model)",
            )
        tensors_ = [v for v in values if isinstance(v, Value)]
        return [(self.nodes.edge(v.form, v.path), v) for v in tensors_]

    def _finish(self, result: Any) -> None:
        entries = {"main": result} if isinstance(result, fx.Node) else result
        entries = dict(entries) if isinstance(entries, Mapping) else {}
        entries = {k: v for k, v in entries.items() if v is not None}
        if not all(isinstance(v, fx.Node) for v in entries.values()) or "main" not in entries:
            raise CaptureError(
                "the model does not say which output is deployed",
                found=f"{type(entries or result).__name__} {entries or result}",
                allowed="a tensor, or a dict of tensors with the entry 'main'",
                where="the model's forward",
                remedy="return the output to deploy under the key 'main'",
            )
        found = {}
        for key, node in entries.items():
            value = self._value(node, node)
            if not isinstance(value, Value):
                raise CaptureError("an output is no tensor of the network", where=key)
            found[key] = self.nodes.edge(value.form, value.path)
        self.main = found["main"]
        rest = [edge for key, edge in found.items() if key != "main"]
        self.outputs = (self.main, *rest)


def _scope(node: fx.Node) -> str:
    """The path of the module in whose forward an operation stands."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [v[0] if isinstance(v, tuple) else k for k, v in stack.items()]
    return str(paths[-1]) if paths else ""


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".") if path else []
    yield from (".".join(parts[:k]) for k in range(1, len(parts) + 1))
