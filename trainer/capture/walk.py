"""From the operations that torch.fx traces to nodes of the compiler's graph, one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from purespike.compiler.ir.domain import Domain
from purespike.compiler.ir.graph import Edge, Graph, IRError, Role
from purespike.trainer.capture.arranged import fits
from purespike.trainer.capture.concat import Joined
from purespike.trainer.capture.conversions import CaptureError, is_operation
from purespike.trainer.capture.functions import call_function, scope
from purespike.trainer.capture.interop import recognize as interop
from purespike.trainer.capture.interop.imported import Spikes
from purespike.trainer.capture.modules import Modules, Reads
from purespike.trainer.capture.nodes import Nodes
from purespike.trainer.capture.padding import padded_norm
from purespike.trainer.capture.pending import Pending, no_operation
from purespike.trainer.capture.recurrence import recurrent
from purespike.trainer.capture.steps import refuse_new
from purespike.trainer.capture.tokens import Product, settled
from purespike.trainer.capture.values import (
    SAMPLES_MERGED,
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


class Walk(Modules):
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
        pending: the first call without a meaning, which is refused once its purpose is clear.
        products: what no synapse computes, all of it: the forward goes on behind each.

    Raises:
        CaptureError: if an operation has no meaning in the graph.
    """

    def __init__(
        self, model: nn.Module, shape: tuple[int, ...], steps: int, domain: Domain, samples: int
    ) -> None:
        self.model = model
        super().__init__(dict(model.named_modules()), steps)
        self.samples = samples
        self.measured = False  # whether the forward has asked for the number of samples
        self.outputs: tuple[str, ...] = ()
        self.main = ""
        self.failed: Exception | None = None
        self.pending: Pending | None = None
        self.products: list[Product] = []
        self.input = Edge("", shape, domain)
        self._domain = domain
        self._nodes: Nodes | None = None
        self._placeholders: list[fx.Node] = []
        self._changed: set[fx.Node] = set()  # by an operation in place

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
        if node.op in ("call_function", "call_method") and node.target not in _MARKS:
            read = (self.values.get(n) for n in node.all_input_nodes)
            waiting = next((v for v in read if isinstance(v, Pending)), None)
            if waiting is not None:
                self._wait(node, waiting)
                return
        before = len(self.nodes.nodes)
        if node.op == "output":
            self._finish(node.args[0])
        elif node.op == "call_module":
            path = str(node.target)
            self.convert(node, path, self.modules[path])
        elif node.op == "get_attr":
            self.values[node] = Constant(self._attribute(str(node.target)))
        elif not (self._marked(node) or call_function(self, node) or self._called(node)):
            first = [self.values.get(n) for n in node.all_input_nodes[:1]]
            self._wait(node, Pending(no_operation(node, *first)))
        at = max((_step(self.values.get(n)) for n in node.all_input_nodes), default=0)
        if at and len(self.nodes.nodes) > before:
            refuse_new(scope(node), at, self.nodes.nodes[before].name)

    def _wait(self, node: fx.Node, waiting: Pending) -> None:
        """Go on behind what has no meaning, until something reads it."""
        self.values[node] = waiting
        self.pending = self.pending or waiting

    def _take(self, node: fx.Node) -> None:
        self._placeholders.append(node)
        if len(self._placeholders) == 1:
            self.input = Edge(node.name, self.input.shape, self._domain)
            self._nodes = Nodes(self.input, self.steps, self._role)
            self.values[node] = Value(self.nodes.form(node.name), SEQUENCE, self.input.shape)

    def known_by_hand(self, path: str, module: nn.Module, read: fx.Node) -> bool:
        """Is a module an operation by what its forward does: a neuron's loop, a padded norm?"""
        value = self.values.get(read)
        known = is_operation(module) or interop.is_foreign(module) or interop.is_container(module)
        if known or not isinstance(value, Value):
            return False
        sequence = value.lead == SEQUENCE and not value.frame
        found = recurrent(module, self.steps) if sequence else None
        if found is not None:
            self.neurons_by_hand.add(path)
        found = found if found is not None else padded_norm(module)
        if found is not None:
            self.by_hand[path] = found
        return found is not None

    def sizes(self, value: Value | Joined) -> list[int]:
        """Of all axes, as the forward sees them."""
        self.measured |= any("B" in axis for axis in value.lead)
        known: dict[str, int] = {
            "T": self.steps * (value.slots if isinstance(value, Value) and value.slots else 1),
            "B": self.samples,
            "TB": self.steps * self.samples,
            "BT": self.steps * self.samples,
            "1": 1,
        }
        return [*(known[axis] for axis in value.lead), *value.shape]

    def sizes_of(self, node: fx.Node) -> list[int]:
        """The sizes of a traced tensor."""
        value = self.value(node, node, True)
        return list(value.tensor.shape) if isinstance(value, Constant) else self.sizes(value)

    def parts_of(self, node: fx.Node) -> int:
        """How many parts a traced value falls into: steps, or spikes and states; 0 if none."""
        value = self.values.get(node)
        if isinstance(value, list):
            return len(value)
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
            forms = (STEP, SEQUENCE, SEQUENCE[::-1], SAMPLES_MERGED)
            if value.lead not in forms or (value.at is not None):
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
            "the forward takes something that is not a tensor", where=target, found=repr(found)
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

    def inside_sequence(self, path: str) -> bool:
        """Does a forward at this path see whole sequences of Imported?"""
        return interop.mode_at(self.modules, f"{path}.()" if path else "()") in ("m", "frame")

    def value(self, read: fx.Node, node: fx.Node, arranged: bool = False) -> Any:
        """What an operation takes; refused if it has none.

        Args:
            read: What is taken.
            node: The operation.
            arranged: Whether it looks at the order of the numbers.
        """
        path = scope(node)
        if read in self._changed:
            self._refuse_change(node, path)
        if read not in self.values and read.op == "get_attr":  # a tensor that is not a parameter
            self.values[read] = Constant(self._attribute(str(read.target)))
        value = self.values[read]
        if isinstance(value, Pending):
            raise value.error
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
        if isinstance(value, Value) and not arranged and not fits(value):
            return self._settled(value, node, path)
        return value

    def _settled(self, value: Value, node: fx.Node, path: str) -> Value:
        plain = settled(self, value, path)
        numbers = math.prod(value.form.shape)
        if plain is None and value.order is not None and value.order.size < numbers:
            raise CaptureError(
                "a part of a layer's numbers is taken, which no layer computes",
                where=path or "the model's forward",
                found=f"{node.format_node() or node.name}: {value.said} of {value.form.shape}",
                allowed="all numbers of a layer, or whole channels of a map (C, H, W)",
                remedy="make the layer in front of it as small as what is kept, or keep all and "
                "cut on the host, behind the network",
            )
        if plain is None:
            raise CaptureError(
                "an operation takes numbers in another order than that of channels and places",
                where=path or "the model's forward",
                found=f"{node.format_node() or node.name}: {value.said} of {value.form.shape}",
                allowed="channels (C, H, W) in any grouping, tokens (C, H W), features (F,)",
                remedy="bring them back into (C, H, W) first: transpose, then reshape; a vote over "
                "features is layer.VotingLayer of SpikingJelly",
            )
        return plain

    def _called(self, node: fx.Node) -> bool:
        """Convert the call of a function that means what a module means; False if none does."""
        path = scope(node)
        joined = interop.join(node.target, node.args)
        if joined is not None:
            op, kind, args = joined
            reads = self.reads(node, path, args)
            self.values[node] = self.add(f"{path}.{kind}", op, reads, path)
            return True
        first: Any = node.args[0] if node.args else None
        first = self.values.get(first) if isinstance(first, fx.Node) else None
        mode = self.mode(f"{path}.()" if path else "()", first)
        module = interop.module_of_call(node.target, node.args[1:], node.kwargs, mode)
        if module is None:
            return False
        reads = self.reads(node, path, node.args[:1])
        name = f"{path}.{type(module).__name__.lower()}"
        self.values[node] = self.apply(reads, path, name, module, mode)
        return True

    def reads(
        self,
        node: fx.Node,
        path: str,
        tensors: tuple[Any, ...] | None = None,
        arranged: bool = False,
    ) -> Reads:
        """The edges that a call takes: all its arguments, or those that are tensors."""
        args = node.args if tensors is None else tensors
        values = [self.value(a, node, arranged) if isinstance(a, fx.Node) else None for a in args]
        if (tensors is None and node.kwargs) or not all(isinstance(v, Value) for v in values):
            raise CaptureError(
                "an operation takes something that is not a tensor of the network",
                where=path or "the model's forward",
                found=node.format_node() or node.name,
                remedy="make constants part of a module; neurons of other frameworks keep their "
                "state themselves: call them without it, for one step, and give Imported(model)",
            )
        tensors_ = [v for v in values if isinstance(v, Value)]
        return [(self.nodes.edge(v.form, v.path), v) for v in tensors_]

    def _finish(self, result: Any) -> None:
        if self.pending is not None:  # though the output may not depend on it: nothing is skipped
            raise self.pending.error
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
                    "an output is not a tensor of the network"
                    if not isinstance(value, Joined)
                    else "concatenated channels that no layer joins",
                    where=key,
                    found=value.said if isinstance(value, Joined) else type(value).__name__,
                    remedy="end with a layer, or give out each part by a key of its own",
                )
            if value.slots:
                raise CaptureError(
                    "an output in binary slots: nothing adds them up again",
                    where=value.path or "the model's forward",
                    found=f"{value.slots} slots per step",
                    allowed="counts, spread by SpikeCountToBinary and added up by TemporalBinSum",
                    remedy="put TemporalBinSum behind the layer that reads the slots",
                )
            if value.at is not None or value.lead not in (SEQUENCE, STEP):
                raise CaptureError(
                    "an output is neither a sequence nor a mean over time",
                    where=value.path or "the model's forward",
                    found=f"{value.said}"
                    + (f" of step {value.at}" if value.at is not None else ""),
                    allowed="(T, B, ...), or a mean (B, ...)",
                    remedy="put time in front: transpose(0, 1)"
                    if value.lead == SEQUENCE[::-1]
                    else "torch.stack the spikes of all steps",
                )
            found[key] = self.nodes.edge(value.form, value.path)
        self._calls.finish(self.modules, self._looped)
        self.main = found["main"]
        rest = [edge for key, edge in found.items() if key != "main"]
        self.outputs = (self.main, *rest)


_MARKS = (relead, handed, returned)


def _step(value: Any) -> int:
    return value.at or 0 if isinstance(value, Value) else 0


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".") if path else []
    yield from (".".join(parts[:k]) for k in range(1, len(parts) + 1))
