"""The fixed-point neuron as integer ONNX operators."""

from __future__ import annotations

import numpy as np

from purespike.compiler.ir.domain import Domain
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import FixedPoint, Neuron
from purespike.targets.onnx.body import BOOL, I32, I64, Body, whole


def membrane_unit(graph: Graph, node: Node) -> int:
    """How many counts of the golden model's membrane make one weight: 64, or 1 where it is proved.

    Without leak every membrane is a whole number of weights until it saturates, because the
    limit ``2**23 - 1`` is none. So a neuron counts in weights (no multiplication by 64) if no
    input of T steps can make it saturate; intervals over T steps prove it. Beyond T steps its
    spikes are still exact: with ``w = floor(v / 64)`` both ``v + 64 x`` and the saturation carry
    over, to ``w + x`` and to the bounds ``floor(+-limit / 64)``, and ``v >= 64 theta`` is
    ``w >= theta``. Only the remainder of a saturated membrane is then lost.
    """
    op, fixed = fixed_neuron(node)
    unit = 1 << fixed.fraction_bits
    parameters = [np.array(op.initial)]
    if op.fires:
        parameters.append(op.threshold)
    if op.reset == "subtract":
        parameters.append(op.amount)
    if op.leaks or not all(whole(p) for p in parameters):
        return unit
    x = graph.edge(node.inputs[0]).domain
    return 1 if _never_saturates(op, x, graph.steps, fixed.limit // unit) else unit


def _never_saturates(op: Neuron, x: Domain, steps: int, limit: int) -> bool:
    """Interval arithmetic over the steps of a sample, in units of a weight."""
    lo = hi = op.initial
    least, most = float(op.threshold.min()), float(op.threshold.max())
    for _ in range(steps):
        lo, hi = op.decay * lo + x.lo, op.decay * hi + x.hi
        if lo < -limit or hi > limit:
            return False
        if not op.fires:
            continue
        kept = max(lo, min(hi, most - 1))  # the most that a neuron keeps without firing
        if op.reset == "zero":
            lo, hi = min(lo, 0.0), max(kept, 0.0)
        else:
            fell = max(lo, least) - float(op.amount.max())
            lo, hi = min(lo, fell), max(kept, hi - float(op.amount.min()))
    return True


def fixed_neuron(node: Node) -> tuple[Neuron, FixedPoint]:
    """The neuron of a node and its arithmetic; legality has checked that both are there."""
    op = node.op
    if not isinstance(op, Neuron) or op.fixed is None:
        raise TypeError(f"%{node.name} is not a fixed-point neuron")
    return op, op.fixed


def emit_neuron(body: Body, graph: Graph, node: Node) -> None:
    """Write one neuron: decay, integrate, saturate, compare, reset; the current before, if kept."""
    op, fixed = fixed_neuron(node)
    name, unit = node.name, membrane_unit(graph, node)
    body.claim(f"{name}_v")  # kept free for a tap
    scale = (1 << fixed.fraction_bits) // unit
    v = body.read(node.inputs[0], I32)
    if unit > 1:
        v = body.op("Mul", [v, body.number(unit)], f"{name}/current")
    grid, state = 1 << fixed.decay_bits, None
    if op.current_decay:
        body.claim(f"{name}_u")
        current = body.state(name, "u", I32, node.output.shape)
        kept = _decay(body, f"{name}/u", current.before, round(op.current_decay * grid), fixed)
        v = body.op("Add", [kept, v], current.after)
    if op.decay:
        state = body.state(name, "v", I32, node.output.shape, round(op.initial * unit))
        kept = _decay(body, name, state.before, round(op.decay * grid), fixed)
        v = body.op("Add", [kept, v], f"{name}/sum")
    if state or unit > 1:  # a memoryless neuron in weights is proved not to saturate
        bounds = [body.number(-fixed.limit // scale), body.number(fixed.limit // scale)]
        silent = state is not None and not op.fires
        v = body.op("Clip", [v, *bounds], state.after if silent and state else f"{name}/potential")
    if not op.fires:
        body.op("Identity", [v], body.declare(node.output, I32))
        return
    threshold = _parameter(body, name, "threshold", op, unit)
    fires = body.op("GreaterOrEqual", [v, threshold], body.declare(node.output, BOOL))
    if state:
        emit_reset(body, node, v, fires, unit, state.after)


def emit_reset(body: Body, node: Node, v: str, fires: str, unit: int, output: str) -> str:
    """Write the reset: the membrane that is left where the neuron fired."""
    op, _ = fixed_neuron(node)
    if op.reset == "zero":
        left = body.number(0)
    else:
        amount = _parameter(body, node.name, "amount", op, unit)
        left = body.op("Sub", [v, amount], f"{node.name}/left")
    return body.op("Where", [fires, left, v], output)


def _parameter(body: Body, name: str, field: str, op: Neuron, unit: int) -> str:
    value = (op.threshold if field == "threshold" else op.amount) * unit
    if value.ndim == 0:
        return body.number(round(float(value)))
    return body.constant(f"{name}/{field}", value, np.int32)


def _decay(body: Body, name: str, v: str, factor: int, fixed: FixedPoint) -> str:
    """``v * factor / 4096`` towards zero: the division is made on magnitudes, in int64."""
    whole_factor = 1 << fixed.decay_bits
    if factor == whole_factor:
        return v
    v = body.op("Cast", [v], f"{name}/int64", to=I64)
    size = body.op("Abs", [v], f"{name}/size")
    sign = body.op("Sign", [v], f"{name}/sign")
    size = body.op("Mul", [size, body.number(factor, I64)], f"{name}/product")
    size = body.op("Div", [size, body.number(whole_factor, I64)], f"{name}/quotient")
    signed = body.op("Mul", [size, sign], f"{name}/signed")
    return body.op("Cast", [signed], f"{name}/kept", to=I32)
