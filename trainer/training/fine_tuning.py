"""Quantization-aware fine-tuning of the network that the compiler is about to quantize.

What is trained is the compiler's own graph, stripped, fused and folded. Each step runs it in
exactly the integers that the pass ``quantize`` makes of the present weights, whole thresholds and
decays included: the arrays come from that pass, not from an imitation of it. Gradients pass the
rounding as if it were not there (straight-through estimator, Bengio et al. 2013, arXiv 1308.3432)
and the firing step by a surrogate, on the membrane in real units. Quantizing the result gives, bit
for bit, the network that was trained last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from purespike.compiler.errors import Refusal
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph, Node, Op
from purespike.compiler.ir.ops import Add, Conv2d, Flatten, Linear, Neuron, Scale
from purespike.compiler.labels import checked_labels, output_classes
from purespike.compiler.passes.quantize.calibrate import Method, calibrate
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.groups import group_members
from purespike.compiler.passes.quantize.quantize import by_row, quantized
from purespike.compiler.passes.quantize.scales import Scaling, exact_scale
from purespike.trainer.errors import DataError, TrainingDiverged
from purespike.trainer.nn import pointwise
from purespike.trainer.nn.once import once
from purespike.trainer.nn.surrogate import ATan, Surrogate

__all__ = ["FineTuneConfig", "IntegerNetwork", "QatError", "fine_tune"]


class QatError(Refusal):
    """A graph that cannot be fine-tuned."""


@dataclass(frozen=True)
class FineTuneConfig:
    """How the integers are fine-tuned.

    Attributes:
        epochs: passes over the training samples.
        learning_rate: of Adam, at the start; a cosine takes it to 0. In units of the real weights.
        method: how scales are chosen from weights: max, percentile or mse; compile with the same.
        surrogate: the pseudo-derivative of the firing step.
    """

    epochs: int = 5
    learning_rate: float = 1e-3
    method: Method = "max"
    surrogate: Surrogate = field(default_factory=ATan)


class _Rounded(torch.autograd.Function):
    """Whole numbers forward; backward as if the real ones had not been rounded."""

    @staticmethod
    def forward(ctx: Any, real: Tensor, whole: Tensor) -> Tensor:
        return whole

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0], None


class _Fires(torch.autograd.Function):
    """Whether a distance from the threshold is 0 or more, with a surrogate gradient."""

    @staticmethod
    def forward(ctx: Any, distance: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.derivative = derivative
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    @once
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (distance,) = ctx.saved_tensors
        return grad_outputs[0] * ctx.derivative(distance), None


class IntegerNetwork(nn.Module):
    """The integers of a graph, as a module with the real weights as parameters.

    Args:
        graph: what the passes before quantization left.
        grid: the integers of the chip.
        config: of the scales and the surrogate.

    Raises:
        QatError: if the graph has a loop or an operation that is not a synapse, sum or neuron.
        QuantizeError: if it has no integer form.
    """

    def __init__(self, graph: Graph, grid: Grid, config: FineTuneConfig) -> None:
        super().__init__()
        self.source = graph
        self.grid = grid
        self.config = config
        for node in graph.nodes:
            known = isinstance(node.op, Conv2d | Linear | Scale | Add | Flatten | Neuron)
            if not known or (isinstance(node.op, Neuron) and node.op.current_decay):
                raise QatError(
                    "this operation cannot be fine-tuned",
                    where=graph.origin(node.name),
                    found=f"{type(node.op).__name__}({node.op.details()})",
                    allowed="synapses, sums, flatten, and neurons without a synaptic current",
                    remedy="compile without fine-tuning",
                )
        self.integrators = {
            n.name for n in graph.nodes if isinstance(n.op, Neuron) and not n.op.fires
        }
        self.fixed = {  # gates and the like: whole already, and to stay so
            node.name
            for nodes in group_members(graph).values()
            if exact_scale(graph, nodes, grid) == 1.0
            for node in nodes
        }
        self.real = nn.ParameterDict()
        for node in graph.nodes:
            if node.role != "host" and node.name not in self.fixed:
                for name, array in _trained(node.op).items():
                    key = _key(node.name, name)
                    self.real[key] = nn.Parameter(torch.from_numpy(array.copy()))

    def graph(self) -> Graph:
        """The graph with the present real weights; quantizing it gives what ``forward`` runs."""
        return self.source.rebuilt(replace(n, op=self._present(n)) for n in self.source.nodes)

    def scales(self) -> dict[str, Scaling]:
        """The compiler's scales of the present weights."""
        return calibrate(self.graph(), None, self.grid, self.config.method)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of inputs (T, B, *shape): real units, or spikes counted."""
        scales = self.scales()
        carried: dict[str, Tensor] = {self.source.inputs[0].name: x.float()}
        for node in self.source.nodes:
            reads = [carried[name] for name in node.inputs]
            carried[node.name] = self._run(node, reads, scales.get(node.name))
        main = self.source.outputs[0]
        if main in self.integrators:
            return carried[main][-1] / float(scales[main])  # integrators have one scale
        return carried[main].sum(0)

    def _present(self, node: Node) -> Op:
        arrays = {
            name: self.real[key].detach().numpy()
            for name in _trained(node.op)
            if (key := _key(node.name, name)) in self.real
        }
        return replace(node.op, **arrays) if arrays else node.op  # type: ignore[type-var]

    def _run(self, node: Node, reads: list[Tensor], scale: Scaling | None) -> Tensor:
        op = self._present(node)
        integers = op if scale is None else quantized(op, scale, self.grid)
        if isinstance(integers, Neuron):
            derivative = self._derivative(integers, scale)
            return _neuron(integers, reads[0], derivative)
        if isinstance(integers, Add):
            return torch.stack(reads).sum(0)
        (x,) = reads
        if isinstance(integers, Flatten):
            return x.flatten(2)
        arrays = {
            name: self._straight_through(node, name, array, scale)
            for name, array in integers.arrays().items()
        }
        if isinstance(integers, Scale):
            return x * arrays["factor"]
        if isinstance(integers, Linear):
            return functional.linear(x, arrays["weight"], arrays.get("bias"))
        assert isinstance(integers, Conv2d)
        y = pointwise.conv2d(
            x.flatten(0, 1),
            arrays["weight"],
            arrays.get("bias"),
            integers.stride,
            integers.padding,
            integers.dilation,
            integers.groups,
        )
        return y.reshape(*x.shape[:2], *y.shape[1:])

    def _straight_through(
        self, node: Node, name: str, array: Array, scale: Scaling | None
    ) -> Tensor:
        whole = torch.from_numpy(array.copy())
        key = _key(node.name, name)
        if key in self.real and scale is not None:
            unit = scale if name == "factor" else by_row(scale, array.ndim)
            real = self.real[key] * torch.as_tensor(unit)
            whole = _Rounded.apply(real, whole)  # type: ignore[no-untyped-call]
        return whole.float()  # exact: integers below 2**24

    def _derivative(self, op: Neuron, scale: Scaling | None) -> Callable[[Tensor], Tensor]:
        """Of the spike by its distance from the threshold, in integer units."""
        if op.decay == 0.0 and isinstance(scale, float) and scale == 1.0:
            # A gate counts spikes: one more or less decides from one below the threshold to on it.
            return lambda distance: ((distance >= -1) & (distance <= 0)).to(distance.dtype)
        unit = torch.as_tensor(1.0 if scale is None else scale, dtype=torch.float64)
        return lambda distance: self.config.surrogate.derivative(distance / unit) / unit


def _neuron(op: Neuron, current: Tensor, derivative: Callable[[Tensor], Tensor]) -> Tensor:
    """All time steps, (T, B, *shape), as `purespike.compiler.ir.ops.Neuron.step` in fixed point."""
    fixed = op.fixed
    unit = float(1 << fixed.fraction_bits) if fixed else 1.0
    x = current.double() * unit
    threshold, amount = (torch.from_numpy(a.copy()) * unit for a in (op.threshold, op.amount))
    v = torch.full_like(x[0], op.initial * unit)
    steps = []
    for t in range(len(x)):
        kept = v * op.decay
        if fixed:
            kept = _Rounded.apply(kept, kept.detach().trunc())  # type: ignore[no-untyped-call]
        v = kept + x[t]
        v = v.clamp(-fixed.limit, fixed.limit) if fixed else v
        if not op.fires:
            steps.append(v / unit)
            continue
        spikes = _Fires.apply((v - threshold) / unit, derivative)  # type: ignore[no-untyped-call]
        steps.append(spikes)
        fired = spikes.detach()  # no gradient through the reset
        v = v * (1.0 - fired) if op.reset == "zero" else v - fired * amount
    return torch.stack(steps).float() if op.fires else torch.stack(steps)


def fine_tune(
    graph: Graph,
    batches: Iterable[tuple[Tensor, Tensor]],
    grid: Grid | None = None,
    config: FineTuneConfig | None = None,
    *,
    progress: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Graph:
    """Train the weights of a graph so that its integers classify well.

    Args:
        graph: what the passes before quantization left; its first output gives the logits.
        batches: training inputs (T, B, *shape) and labels (B,), gone through once an epoch; a
            loader whose sampler has ``set_epoch`` is told the epoch.
        grid: the integers of the chip.
        config: how to train.
        progress: called after each epoch with its number and its mean loss.

    Returns:
        The graph with new real weights. ``quantize(result, grid, calibrate(result, None, grid,
        config.method))`` is the network that was trained last.

    Raises:
        QatError: if the graph cannot be fine-tuned.
        DataError: if there are no batches.
        TrainingDiverged: if the loss is not finite.
    """
    grid, config = grid or Grid(), config or FineTuneConfig()
    network = IntegerNetwork(graph, grid, config)
    optimizer = torch.optim.Adam(network.parameters(), config.learning_rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(config.epochs, 1))
    for epoch in range(config.epochs):
        set_epoch = getattr(getattr(batches, "sampler", None), "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)
        losses = []
        for k, (inputs, labels) in enumerate(batches):
            where = f"training data, epoch {epoch}, batch {k}"
            whole = checked_labels(labels, inputs.shape[1], where, *output_classes(graph))
            loss = functional.cross_entropy(network(inputs), torch.from_numpy(whole))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(float(loss.detach()))
        if not losses:
            raise DataError(
                "fine-tuning needs training samples", where=f"epoch {epoch}", found="no batches"
            )
        if not np.isfinite(losses).all():
            raise TrainingDiverged(
                "fine-tuning diverged",
                where=f"epoch {epoch}",
                found="a loss that is not finite",
                remedy="lower the learning rate, or compile without fine-tuning",
            )
        cosine.step()
        progress(epoch, sum(losses) / len(losses))
    return network.graph()


def _trained(op: Op) -> Mapping[str, Array]:
    """The arrays of a synapse that are trained."""
    return op.arrays() if isinstance(op, Conv2d | Linear | Scale) else {}


def _key(node: str, array: str) -> str:
    """A name that torch takes for a parameter."""
    return f"{node}.{array}".replace(".", "/")
