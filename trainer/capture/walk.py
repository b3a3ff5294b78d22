"""From the operations that torch.fx traces to nodes of the compiler's graph, one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from purespike.compiler.ir.domain import Domain
from purespike.compiler.ir.graph import Edge, Graph, IRError, Op, Role, Shape
from purespike.compiler.ir.ops import Add, Neuron, TimeMean
from purespike.trainer.capture.concat import Joined, split
from purespike.trainer.capture.conversions import CaptureError, converter
from purespike.trainer.capture.functions import call_function, scope
from purespike.trainer.capture.interop import recognize as interop
from purespike.trainer.capture.interop.imported import Spikes
from purespike.trainer.capture.nodes import Nodes
from purespike.trainer.capture.steps import Steps, common_step, refuse_new
from purespike.trainer.capture.values import (
    MERGED,
    SEQUENCE,
    STEP,
    Constant,
    Handed,
    State,
    Value,
    handed,
    relead,
    returned,
)
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
        self, model: nn.Module, shape: tuple[int, ...], steps: int, domain: Domain, samples: int
    ) -> None:
        self.model = model
        self.modules = dict(model.named_modules())
        self.steps = steps
        self.samples = samples
        self.measured = False  # whether the forward has asked for the number of samples
        self.outputs: tuple[str, ...] = ()
        self.main = ""
        self.failed: Exception | None = None
        self.input = Edge("", shape, domain)
        self._domain = domain
        self._nodes: Nodes | None = None
        self._placeholders: list[fx.Node] = []
        self.values: dict[fx.Node, Any] = {}
        self._changed: set[fx.Node] = set()  # by an operation in place
        self._pairs: dict[fx.Node, int] = {}  # (spikes, state) of a call of another framework
        self._calls = Steps(steps)
        self._fed: dict[str, tuple[str, Value]] = {}  # what a neuron takes
        self._looped: set[str] = set()  # neurons in a loop over the steps
        self._rolled: dict[tuple[Any, ...], str] = {}  # what a step has made
        interop.watch_resets(self.modules, self._calls.reset)

    def visit(self, node: fx.Node) -> None:
        """Take in one traced operation.

        Raises:
            CaptureError: If it has no meaning in the graph.
            IRError: If it does not fit.
        """
        try:
            self._visit(node)
        except IRError as e:
            e.where = e.where or scope(node) or "the model's forward"
            self.failed = e
            raise
        except CaptureError as e:
            self.failed = e
            raise

    def _visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self._take(node)
            return
        before = len(self.nodes.nodes)
        if node.op == "output":
            self._finish(node.args[0])
        elif node.op == "call_module":
            path = str(node.target)
            self._convert(node, path, self.modules[path])
        elif node.op == "get_attr":
            self.values[node] = Constant(self._attribute(str(node.target)))
        elif not (self._marked(node) or call_function(self, node) or self._called(node)):
            target = getattr(node.target, "__name__", str(node.target))
            raise CaptureError(
                f"the compiler has no operation for {target}",
                where=scope(node) or "the model's forward",
                found=node.format_node() or target,
                allowed="modules of torch.nn and purespike.trainer that capture knows, sums, "
                "constant factors, and logic of spikes",
                remedy="express it with layers, neurons and gates of purespike.trainer",
            )
        at = max((_step(self.values.get(n)) for n in node.all_input_nodes), default=0)
        if at and len(self.nodes.nodes) > before:
            refuse_new(scope(node), at, self.nodes.nodes[before].name)

    def _take(self, node: fx.Node) -> None:
        self._placeholders.append(node)
        if len(self._placeholders) == 1:
            self.input = Edge(node.name, self.input.shape, self._domain)
            self._nodes = Nodes(self.input, self.steps, self._role)
            self.values[node] = Value(self.nodes.form(node.name), SEQUENCE, self.input.shape)

    def sizes(self, value: Value | Joined) -> list[int]:
        """Of all axes, as the forward sees them."""
        self.measured |= "B" in value.lead or "TB" in value.lead
        known: dict[str, int] = {
            "T": self.steps,
            "B": self.samples,
            "TB": self.steps * self.samples,
            "1": 1,
        }
        return [*(known[axis] for axis in value.lead), *value.shape]

    def sizes_of(self, node: fx.Node) -> list[int]:
        """The sizes of a traced tensor."""
        value = self.value(node, node)
        return list(value.tensor.shape) if isinstance(value, Constant) else self.sizes(value)

    def parts_of(self, node: fx.Node) -> int:
        """How many parts a traced value falls into: steps, or spikes and states; 0 if none."""
        value = self.values.get(node)
        if node in self._pairs:
            return 1 + interop.states_of(self.modules[str(node.target)])
        inside = isinstance(value, Value) and value.lead[0] == "T"
        return self.steps if inside and self.inside_sequence(scope(node)) else 0

    def graph(self, dt: float) -> Graph:
        """What was traced."""
        draft = Graph((self.input,), (), self.outputs, self.steps, dt)
        return draft.rebuilt(self.nodes.pruned(self.outputs))

    def _marked(self, node: fx.Node) -> bool:
        """What Imported tells about time and states."""
        if node.target is relead:
            source, lead, frame = node.args
            value = self.value(source, node)  # type: ignore[arg-type]
            if value.lead not in (STEP, SEQUENCE) or (value.at is not None):
                raise CaptureError(
                    "a model of single steps returns something else than (B, ...)",
                    where=scope(node) or "the model's forward",
                    found=value.said,
                    allowed="(B, ...)",
                    remedy="where its forward goes through the steps itself, give "
                    "Imported(model, takes='sequence')",
                )
            self.values[node] = replace(value, lead=tuple(lead), frame=bool(frame))  # type: ignore[arg-type]
        elif node.target is handed:
            self.values[node] = Handed(node.args[1])  # type: ignore[arg-type]
        elif node.target is returned:
            states = [self.values.get(n) if isinstance(n, fx.Node) else n for n in node.args[0]]  # type: ignore[union-attr]
            self._calls.returned(states, scope(node))
        else:
            return False
        return True

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
        value = self.values.get(node)
        if isinstance(value, Constant):
            return value.tensor.dtype
        kind = value.kind if isinstance(value, Value) else "float"
        return {"float": torch.float32, "int": torch.int64, "bool": torch.bool}[kind]

    # ---- calls --------------------------------------------------------------------------------

    def item(self, node: fx.Node) -> bool:
        """One of (spikes, state); False if it is none of these."""
        pair, index = node.args
        if not isinstance(pair, fx.Node) or pair not in self._pairs or not isinstance(index, int):
            return False
        index %= 1 + interop.states_of(self.modules[str(pair.target)])
        if index == 0:
            self.values[node] = self.values[pair]
        else:
            self.values[node] = State(str(pair.target), index - 1, self._pairs[pair])
        return True

    def change(self, node: fx.Node, path: str) -> None:
        """An operation in place: what it changes must have no other reader.

        Raises:
            CaptureError: If it has one.
        """
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

    def rolled(self, key: tuple[str, ...], values: Sequence[Value]) -> str:
        """The edge that an earlier step has made of the same; empty where there are no steps."""
        stepped = any(v.at is not None or v.frame for v in values)
        return self._rolled.get(key, "") if stepped else ""

    def roll(self, key: tuple[str, ...], edge: str, values: Sequence[Value]) -> None:
        """Remember what a step has made."""
        if any(v.at is not None or v.frame for v in values):
            self._rolled[key] = edge

    def inside_sequence(self, path: str) -> bool:
        """Does a forward at this path see whole sequences of Imported?"""
        return interop.mode_at(self.modules, f"{path}.()" if path else "()") in ("m", "frame")

    def value(self, read: fx.Node, node: fx.Node) -> Any:
        """What an operation takes; refused if it has none."""
        path = scope(node)
        if read in self._changed:
            self._refuse_change(node, path)
        if read not in self.values and read.op == "get_attr":  # a tensor that is no parameter
            self.values[read] = Constant(self._attribute(str(read.target)))
        value = self.values[read]
        if isinstance(value, State):
            held = self.membrane(value)
            if held is not None:
                return held
            raise CaptureError(
                "the model reads the membrane of a neuron that is reset",
                where=value.path,
                found=node.format_node() or node.name,
                allowed="its spikes, or the membrane of a neuron with reset_mechanism='none'",
                remedy="read out spikes, the current of a last layer without a neuron, or make the "
                "last neuron with reset_mechanism='none'",
            )
        spikes = isinstance(self.modules.get(str(node.target)), Spikes) or node.target is relead
        if read in self._pairs and not spikes:
            raise CaptureError(
                "an operation takes the spikes of a neuron together with its state",
                where=path or "the model's forward",
                found=node.format_node() or node.name,
                remedy="make the neuron with init_hidden=True and without output=True",
            )
        return value

    def _called(self, node: fx.Node) -> bool:
        """Convert the call of a function that means what a module means; False if none does."""
        path = scope(node)
        joined = interop.join(node.target, node.args)
        if joined is not None:
            op, kind, args = joined
            reads = self._reads(node, path, args)
            self.values[node] = self.add(f"{path}.{kind}", op, reads, path)
            return True
        first: Any = node.args[0] if node.args else None
        first = self.values.get(first) if isinstance(first, fx.Node) else None
        mode = self._mode(f"{path}.()" if path else "()", first)
        module = interop.module_of_call(node.target, node.args[1:], node.kwargs, mode)
        if module is None:
            return False
        reads = self._reads(node, path, node.args[:1])
        name = f"{path}.{type(module).__name__.lower()}"
        self.values[node] = self._apply(reads, path, name, module, mode)
        return True

    def _mode(self, path: str, value: Any) -> interop.Mode:
        """What a module at a path is called with; inside of a sequence its axes say it."""
        mode = interop.mode_at(self.modules, path)
        if isinstance(value, Value) and mode in ("", "m"):
            if value.lead == MERGED:
                return "merged"
            if value.lead == STEP and mode == "m":
                return "s"
        return mode

    def _convert(self, node: fx.Node, path: str, module: nn.Module) -> None:
        if isinstance(module, Spikes):
            self.values[node] = self.value(node.args[0], node)  # type: ignore[arg-type]
            return
        stateful = interop.is_stateful(module)
        first = self.value(node.args[0], node) if node.args else None  # type: ignore[arg-type]
        if isinstance(first, Joined) and not node.kwargs:
            self._convert_joined(node, first, path, module)
            return
        reads = self._reads(node, path, node.args[:1] if stateful else None)
        edge, value = reads[0]
        mode = self._mode(path, value)
        if stateful:
            states = [*node.args[1:], *node.kwargs.values()]
            own = mode == "s" and interop.mode_at(self.modules, path) in ("m", "frame")
            given = [self._state(a, node) for a in states]
            at = self._calls.call(path, module, edge, value, given, own)
            if at is not None:
                self._looped.add(path)
                reads = [(edge, replace(value, at=at, frame=False))]
            self._fed[path] = reads[0]
        self.values[node] = self._apply(reads, path, path, module, mode)
        if interop.gives_state(module):
            self._pairs[node] = self._calls.calls[path]

    def _convert_joined(self, node: fx.Node, joined: Joined, path: str, module: nn.Module) -> None:
        if interop.is_stateful(module) and (len(node.args) > 1 or joined.parts[0].at is not None):
            raise CaptureError(
                f"this {type(module).__name__} takes concatenated channels step by step",
                where=path,
                found=joined.said,
                allowed="one tensor, or concatenated channels where time is implicit",
                remedy="put a neuron behind each part, in front of torch.cat",
            )
        if interop.is_stateful(module):
            self._calls.call(path, module, path, joined.parts[0], (), False)
        mode = self._mode(path, joined.parts[0])
        self.values[node] = self._apply_joined(joined, path, path, module, mode)
        if interop.gives_state(module):
            self._pairs[node] = self._calls.calls[path]

    def _state(self, a: Any, node: fx.Node) -> Any:
        """What a neuron is handed as its state."""
        if not isinstance(a, fx.Node):
            return a
        known = self.values.get(a)
        return known if isinstance(known, State) else self.value(a, node)

    def _apply(
        self,
        reads: list[tuple[str, Value]],
        path: str,
        name: str,
        module: nn.Module,
        mode: interop.Mode,
    ) -> Value:
        made = reads
        shape = self.nodes.type(reads[0][0]).shape
        for suffix, op in self._converted(shape, path, module, mode):
            value = self.add(f"{name}{suffix}", op, made, path)
            made = [(self.nodes.edge(value.form, path), value)]
        value = made[0][1]
        silent = self.nodes.nodes[-1].op if self.nodes.nodes else None
        if isinstance(silent, Neuron) and not silent.fires and value.lead == SEQUENCE:
            return replace(value, lead=STEP)  # its membrane is read at the last step
        return value

    def _converted(
        self, shape: Shape, path: str, module: nn.Module, mode: interop.Mode
    ) -> list[tuple[str, Op]]:
        convert = interop.converter(module, mode, path) or converter(module, path)
        try:
            return convert(module, shape, self.steps, path)
        except IRError as e:  # a parameter that has no meaning: say whose
            e.where = e.where or path
            raise

    def _apply_joined(
        self, joined: Joined, path: str, name: str, module: nn.Module, mode: interop.Mode
    ) -> Value | Joined:
        """A layer on concatenated channels: one for each part, and perhaps their sum."""
        value: Value | Joined = joined
        for suffix, op in self._converted(joined.shape, path, module, mode):
            value = self.spread(value, f"{name}{suffix}", op, path)
        return value

    def spread(self, value: Value | Joined, name: str, op: Op, path: str) -> Value | Joined:
        """One operation on a tensor, or on each part of concatenated ones."""
        if isinstance(value, Value):
            return self.add(name, op, [(self.nodes.edge(value.form, value.path), value)], path)
        sizes = [p.shape[0] for p in value.parts]
        parts, sums = split(op, sizes, path)
        reads = [[(self.nodes.edge(v.form, v.path), v)] for v in value.parts]
        made = [
            self.add(f"{name}.cat{k}", part, read, path)
            for k, (part, read) in enumerate(zip(parts, reads, strict=True))
        ]
        if not sums:
            return Joined(tuple(made))
        return self.add(name, Add(), [(self.nodes.edge(v.form, path), v) for v in made], path)

    def membrane(self, state: State) -> Value | None:
        """What a neuron without a reset holds, as a neuron that only integrates; None of others."""
        module, (edge, value) = self.modules[state.path], self._fed[state.path]
        if getattr(module, "reset_mechanism", "") != "none" or state.index + 1 != (
            interop.states_of(module)
        ):
            return None
        shape = self.nodes.type(edge).shape
        *front, (_, op) = self._converted(shape, state.path, module, "s")
        reads = [(edge, replace(value, at=state.calls - 1) if value.at is not None else value)]
        for suffix, scale in front:
            scaled = self.add(f"{state.path}.membrane{suffix}", scale, reads, state.path)
            reads = [(self.nodes.edge(scaled.form, state.path), scaled)]
        silent = Neuron(np.asarray(np.inf), op.decay, "none", current_decay=op.current_decay)  # type: ignore[attr-defined]
        return self.add(f"{state.path}.membrane", silent, reads, state.path)

    def add(self, name: str, op: Op, reads: list[tuple[str, Value]], path: str) -> Value:
        """A node; in a loop over the steps, the one that step 0 has made."""
        edges = [e for e, _ in reads]
        values = [v for _, v in reads]
        at = common_step(values, path)
        frame = all(v.frame for v in values)
        key = (name, *edges)
        edge = self.rolled(key, values) or self.nodes.add(name, op, edges, path)
        self.roll(key, edge, values)
        shape = self.nodes.type(edge).shape
        signal = len(values[0].shape) == 2 and len(shape) == 3 and shape[1] == 1
        lead = STEP if isinstance(op, TimeMean) else values[0].lead
        return Value(
            self.nodes.form(edge),
            lead,
            (shape[0], shape[2]) if signal else shape,
            at=at,
            frame=frame,
            path=path,
        )

    def _reads(
        self, node: fx.Node, path: str, tensors: tuple[Any, ...] | None = None
    ) -> list[tuple[str, Value]]:
        """The edges that a call takes: all its arguments, or those that are tensors."""
        args = node.args if tensors is None else tensors
        values = [self.value(a, node) if isinstance(a, fx.Node) else None for a in args]
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
            value = self.value(node, node)
            if not isinstance(value, Value):
                raise CaptureError(
                    "an output is no tensor of the network"
                    if not isinstance(value, Joined)
                    else "concatenated channels that no layer joins",
                    where=key,
                    found=value.said if isinstance(value, Joined) else type(value).__name__,
                    remedy="end with a layer, or give out each part by a key of its own",
                )
            if value.at is not None or value.lead not in (SEQUENCE, STEP):
                raise CaptureError(
                    "an output is no sequence and no mean over time",
                    where=value.path or "the model's forward",
                    found=f"{value.said}"
                    + (f" of step {value.at}" if value.at is not None else ""),
                    allowed="(T, B, ...), or a mean (B, ...)",
                    remedy="torch.stack the spikes of all steps",
                )
            found[key] = self.nodes.edge(value.form, value.path)
        self._calls.finish(self.modules, self._looped)
        self.main = found["main"]
        rest = [edge for key, edge in found.items() if key != "main"]
        self.outputs = (self.main, *rest)


def _step(value: Any) -> int:
    return value.at or 0 if isinstance(value, Value) else 0


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".") if path else []
    yield from (".".join(parts[:k]) for k in range(1, len(parts) + 1))
