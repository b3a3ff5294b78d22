"""Modules in the graph: their layers and neurons, in a loop over the steps as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import fx, nn

from purespike.compiler.ir.domain import ANALOG, Domain, Reach, image
from purespike.compiler.ir.graph import IRError, Op, Shape
from purespike.compiler.ir.ops import Add, BatchNorm, Levels, Neuron, Relu, Scale, TimeMean
from purespike.trainer.capture.arranged import is_whole
from purespike.trainer.capture.concat import Joined, split
from purespike.trainer.capture.conversions import CaptureError, converter, on_tokens
from purespike.trainer.capture.interop import recognize as interop
from purespike.trainer.capture.interop.imported import Spikes
from purespike.trainer.capture.masks import fronts
from purespike.trainer.capture.nodes import Nodes
from purespike.trainer.capture.steps import Steps, common_step
from purespike.trainer.capture.values import (
    MERGED,
    SAMPLES_MERGED,
    SEQUENCE,
    STEP,
    State,
    Value,
)
from purespike.trainer.nn.layers import Flatten
from purespike.trainer.nn.levels import ILIF
from purespike.trainer.nn.neuron import Neuron as Neuron_

__all__ = ["Modules"]

EACH = (Neuron_, ILIF, nn.Identity, nn.Dropout, nn.ReLU)
"""Modules that act on each number by itself."""
NUMBER_BY_NUMBER = (Neuron, Levels, Relu, Scale, TimeMean, BatchNorm)

Reads = list[tuple[str, Value]]
"""Edges, and what they carry."""


class Modules:
    """What modules and their calls become while a forward is traced.

    Args:
        modules: of the model, by path.
        steps: T.

    Attributes:
        modules: of the model, by path.
        steps: T.
        values: of every traced operation.
    """

    def __init__(self, modules: dict[str, nn.Module], steps: int) -> None:
        self.modules, self.steps = modules, steps
        self.values: dict[fx.Node, Any] = {}
        self._pairs: dict[fx.Node, int] = {}  # (spikes, state) of a call of another framework
        self._calls = Steps(steps)
        self._fed: dict[str, tuple[str, Value]] = {}  # what a neuron takes
        self.by_hand: dict[str, list[tuple[str, Op]]] = {}  # known by what a forward does
        self.neurons_by_hand: set[str] = set()  # of these, those that act number by number
        self._looped: set[str] = set()  # neurons in a loop over the steps
        self._rolled: dict[tuple[Any, ...], str] = {}  # what a step has made
        interop.watch_resets(modules, self._calls.reset)

    @property
    def nodes(self) -> Nodes:
        """The graph so far."""
        raise NotImplementedError

    def value(self, read: fx.Node, node: fx.Node, arranged: bool = False) -> Any:
        """What an operation takes; refused if it has none."""
        raise NotImplementedError

    def reads(
        self,
        node: fx.Node,
        path: str,
        tensors: tuple[Any, ...] | None = None,
        arranged: bool = False,
    ) -> Reads:
        """The edges that a call takes."""
        raise NotImplementedError

    def rolled(self, key: tuple[str, ...], values: Sequence[Value]) -> str:
        """The edge that an earlier step has made of the same; empty where there are no steps."""
        stepped = any(v.at is not None or v.frame for v in values)
        return self._rolled.get(key, "") if stepped else ""

    def roll(self, key: tuple[str, ...], edge: str, values: Sequence[Value]) -> None:
        """Remember what a step has made."""
        if any(v.at is not None or v.frame for v in values):
            self._rolled[key] = edge

    def mode(self, path: str, value: Any) -> interop.Mode:
        """What a module at a path is called with; inside of a sequence its axes say it."""
        mode = interop.mode_at(self.modules, path)
        if isinstance(value, Value) and mode in ("", "m"):
            if value.lead == MERGED:
                return "merged"
            if value.lead == STEP:  # behind a mean over time torch's flattening begins with axis 1
                flat = mode == "" and type(self.modules.get(path)) is nn.Flatten
                return "s" if mode == "m" or flat else mode
            if value.lead == SAMPLES_MERGED:
                return "flat"
            if value.lead == SEQUENCE[::-1] and mode == "m":
                return (
                    "samples"
                    if interop.is_stateful(self.modules.get(path, nn.Identity()))
                    else mode
                )
        return mode

    def convert(self, node: fx.Node, path: str, module: nn.Module) -> None:
        """Take in the call of a module.

        Raises:
            CaptureError: If it is none that the graph has, or is called as it must not be.
        """
        if isinstance(module, Spikes):
            self.values[node] = self.value(node.args[0], node)  # type: ignore[arg-type]
            return
        stateful = interop.is_stateful(module)
        first = self.values.get(node.args[0]) if node.args else None  # type: ignore[arg-type]
        each = stateful or isinstance(module, EACH) or path in self.neurons_by_hand
        each = each and isinstance(first, Value) and is_whole(first)
        if not each and node.args:
            first = self.value(node.args[0], node)  # type: ignore[arg-type]
        if isinstance(first, Joined) and not node.kwargs:
            self._convert_joined(node, first, path, module)
            return
        reads = self.reads(node, path, node.args[:1] if stateful else None, each)
        edge, value = reads[0]
        mode = self.mode(path, value)
        if stateful:
            states = [*node.args[1:], *node.kwargs.values()]
            own = mode == "s" and interop.mode_at(self.modules, path) in ("m", "frame")
            given = [self._state(a, node) for a in states]
            stepwise = interop.mode_at(self.modules, path) == "s"
            at = self._calls.call(path, module, edge, value, given, own, stepwise)
            if at is not None:
                self._looped.add(path)
                reads = [(edge, replace(value, at=at, frame=False))]
            self._fed[path] = reads[0]
        self.values[node] = self.apply(reads, path, path, module, mode)
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
            stepwise = interop.mode_at(self.modules, path) == "s"
            self._calls.call(path, module, path, joined.parts[0], (), False, stepwise)
        mode = self.mode(path, joined.parts[0])
        self.values[node] = self._apply_joined(joined, path, path, module, mode)
        if interop.gives_state(module):
            self._pairs[node] = self._calls.calls[path]

    def _state(self, a: Any, node: fx.Node) -> Any:
        """What a neuron is handed as its state."""
        if not isinstance(a, fx.Node):
            return a
        known = self.values.get(a)
        return known if isinstance(known, State) else self.value(a, node)

    def apply(
        self,
        reads: Reads,
        path: str,
        name: str,
        module: nn.Module,
        mode: interop.Mode,
    ) -> Value:
        """The nodes of a module, named ``name``, on what it reads."""
        made = self._fronts(reads, path, name, module)
        if isinstance(module, Flatten) and reads[0][1].lead == STEP:
            self.nodes.require_sequence(Flatten.__name__, reads[0][0], path)
        shape = self.nodes.type(reads[0][0]).shape
        tokens = len(reads[0][1].shape) == 2 and len(shape) == 3 and shape[1] != 1
        domain = self._current(reads[0][0])
        for suffix, op in self._converted(shape, path, module, mode, tokens, domain):
            value = self.add(f"{name}{suffix}", op, made, path)
            made = [(self.nodes.edge(value.form, path), value)]
        value = interop.slotted(module, path, self.nodes.type(made[0][0]), made[0][1])
        silent = self.nodes.nodes[-1].op if self.nodes.nodes else None
        if isinstance(silent, Neuron) and not silent.fires and value.lead == SEQUENCE:
            return replace(value, lead=STEP)  # its membrane is read at the last step
        return value

    def _fronts(self, reads: Reads, path: str, name: str, module: nn.Module) -> Reads:
        """The inputs of a module as they meet in it."""
        made = list(reads)
        try:
            front = fronts(module, [self.nodes.type(edge) for edge, _ in reads])
        except IRError as e:
            e.where = e.where or path
            raise
        for k, op in enumerate(front):
            value = self.add(f"{name}.in{k}", op, [reads[k]], path)
            made[k] = (self.nodes.edge(value.form, path), value)
        return made

    def _current(self, edge: str) -> Domain:
        """What an edge carries; a batch norm's own domain says nothing."""
        node = next((n for n in self.nodes.nodes if n.name == edge), None)
        if node is None or not isinstance(node.op, BatchNorm):
            return self.nodes.type(edge).domain
        factor, shift = node.op.affine()
        return image(Reach.of(factor.reshape(-1, 1)), shift, self._current(node.inputs[0]))

    def _converted(
        self,
        shape: Shape,
        path: str,
        module: nn.Module,
        mode: interop.Mode,
        tokens: bool = False,
        domain: Domain = ANALOG,
    ) -> list[tuple[str, Op]]:
        if path in self.by_hand:
            return self.by_hand[path]
        convert = interop.converter(module, mode, path, domain) or converter(module, path)
        if tokens and not (interop.is_stateful(module) or isinstance(module, EACH)):
            return on_tokens(module, shape, path)
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
        slots = interop.common_slots(op, values, path)
        at = common_step(values, path)
        frame = all(v.frame for v in values)
        key = (name, *edges)
        edge = self.rolled(key, values) or self.nodes.add(name, op, edges, path)
        self.roll(key, edge, values)
        shape = self.nodes.type(edge).shape
        first = values[0]
        lead = STEP if isinstance(op, TimeMean) else first.lead
        seen, order = shape, None
        if shape == first.form.shape and isinstance(op, NUMBER_BY_NUMBER):
            seen, order = first.shape, first.order
        elif len(first.shape) == 2 and len(shape) == 3 and shape[1:] == first.form.shape[1:]:
            seen = (shape[0], first.shape[1])  # tokens, or a signal
        elif len(first.shape) == 2 and len(shape) == 3 and shape[1] == 1:
            seen = (shape[0], shape[2])
        return Value(
            self.nodes.form(edge),
            lead,
            seen,
            at=at,
            frame=frame,
            path=path,
            slots=slots,
            order=order,
        )
