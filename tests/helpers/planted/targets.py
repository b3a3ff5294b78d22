"""Faults of what is written, and of what runs what was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
from onnx import TensorProto

from helpers.planted.planting import Listed, Patch, bumped, giving, method, taking
from purespike.compiler.ir.ops import Conv2d, Gate, Neuron
from purespike.compiler.ir.ops.synapse import reweighted
from purespike.targets.bundle import golden_network, replay
from purespike.targets.c import lower as c_lower
from purespike.targets.cpu import draft as cpu_draft
from purespike.targets.cpu import gates as cpu_gates
from purespike.targets.cpu import planner as cpu_planner
from purespike.targets.cpu import synapses as cpu_synapses
from purespike.targets.lava.lower import emit as lava_emit
from purespike.targets.lava.lower import synapses as lava_synapses
from purespike.targets.nir import describe as nir_describe
from purespike.targets.nir import membrane as nir_membrane
from purespike.targets.onnx import body as onnx_body
from purespike.targets.onnx import emit as onnx_emit
from purespike.targets.onnx import neuron as onnx_neuron
from purespike.targets.onnx import qonnx


def _onnx_parameter(by: int) -> Patch:
    def make(old: Any) -> Any:
        def parameter(body: Any, name: str, field: str, op: Neuron, unit: int) -> Any:
            moved = replace(op, threshold=op.threshold + by) if field == "threshold" else op
            return old(body, name, field, moved, unit)

        return parameter

    return method(onnx_neuron, "_parameter", make)


def _onnx_amount() -> Patch:
    def make(old: Any) -> Any:
        def parameter(body: Any, name: str, field: str, op: Neuron, unit: int) -> Any:
            moved = replace(op, amount=op.amount + 1) if field == "amount" else op
            return old(body, name, field, moved, unit)

        return parameter

    return method(onnx_neuron, "_parameter", make)


def _golden(field: str, by: int) -> Patch:
    def make(old: Any) -> Any:
        def wrong(graph: Any, node: Any, op: Neuron, put: Any) -> Any:
            moved = replace(op, **{field: getattr(op, field) + by}) if op.fires else op
            return old(graph, node, moved, put)

        return wrong

    return method(golden_network, "_neuron", make)


def _golden_delay() -> Patch:
    def make(old: Any) -> Any:
        return lambda node, numbers, line: line[1] if len(line) > 1 else old(node, numbers, line)

    return method(replay, "late", make)


def _nir_op(field: str, value: Any) -> Patch:
    def change(op: Any) -> Any:
        return replace(op, **{field: value}) if isinstance(op, Conv2d) else op

    return giving(nir_describe, "_op", change)


def _nir_transposed() -> Patch:
    def change(op: Any) -> Any:
        return replace(op, weight=op.weight.swapaxes(2, 3)) if isinstance(op, Conv2d) else op

    return giving(nir_describe, "_op", change)


def _cpu_layer(change: Callable[[Any], Any], field: str) -> Patch:
    """What a layer of neurons holds is changed, before it is fitted into registers."""

    def wrong(layers: Any, graph: Any) -> Any:
        moved = [replace(x, **{field: change(x)}) if x.task == "neurons" and x.out >= 0 else x
                 for x in layers]  # fmt: skip
        return fitted(moved, graph)

    fitted = cpu_planner.fitted
    return lambda: mock.patch.object(cpu_planner, "fitted", wrong)


def _c_units(what: str) -> Patch:
    def make(old: Any) -> Any:
        def wrong(node: Any, kind: str, values: Any, place: Any, unit: int) -> Any:
            return old(node, kind, values + (kind == what), place, unit)

        return wrong

    return method(c_lower, "_units", make)


def _c_flipped() -> Patch:
    def change(arm: Any) -> Any:
        return replace(arm, weight=arm.weight[::-1]) if arm.kind == "rows" else arm

    return giving(c_lower._Lowering, "_arm", change)


def _plus(vth: Any) -> Any:
    return vth + 1


EMITTERS: Listed = {
    "ONNX: threshold + 1": ("targets/onnx", _onnx_parameter(1)),
    "ONNX: no range proof before counting in weights": (
        "targets/onnx",
        method(onnx_neuron, "_never_saturates", lambda old: lambda *args: True),
    ),
    "ONNX: gates all become OR": (
        "targets/onnx",
        lambda: mock.patch.dict(
            onnx_emit._EMIT,
            {Gate: lambda body, graph, node: onnx_emit._chain(body, "Or", node, TensorProto.BOOL)},
        ),
    ),
    "bundle: resets left out": (
        "targets/golden_network",
        method(
            golden_network,
            "_neuron",
            lambda old: (
                lambda graph, node, op, put: (
                    {**old(graph, node, op, put), "reset": "none"}
                    if op.fires
                    else old(graph, node, op, put)
                )
            ),
        ),
    ),
    "bundle: kernels flipped": (
        "targets/replay",
        method(
            replay,
            "conv2d",
            lambda old: lambda x, w, *geometry: old(x, w[:, :, ::-1], *geometry),
        ),
    ),
    "ONNX: a threshold > instead of >=": (
        "targets/onnx",
        taking(onnx_body.Body, "op", 1, lambda kind: {"GreaterOrEqual": "Greater"}.get(kind, kind)),
    ),
    "ONNX: a soft reset takes 1 more": ("targets/onnx", _onnx_amount()),
    "ONNX: a decay + 1/4096": (
        "targets/onnx",
        taking(onnx_neuron, "_decay", 3, lambda factor: factor + 1),
    ),
    "bundle: a threshold + 1": ("targets/golden_network", _golden("threshold", 1)),
    "bundle: a delay one step short": ("targets/replay", _golden_delay()),
    "bundle: biases left out": (
        "targets/replay",
        method(
            replay,
            "layer",
            lambda old: (
                lambda node, numbers, *x: old(
                    node | {"bias": None} if "bias" in node else node, numbers, *x
                )
            ),
        ),
    ),
    "bundle: a leak rounds down": (
        "targets/replay",
        method(
            replay,
            "faded",
            lambda old: lambda node, x, decay: (x * node.get(decay, 0)) >> node["decay_bits"],
        ),
    ),
    "bundle: > for >=": (
        "targets/replay",
        method(
            replay,
            "neuron",
            lambda old: (
                lambda node, numbers, v, u: old(
                    node, {k: n + (k == node.get("threshold")) for k, n in numbers.items()}, v, u
                )
            ),
        ),
    ),
    "NIR: a threshold that is > and read as >=": (
        "targets/nir",
        giving(nir_membrane, "strict_threshold", lambda t: t + 1.0),
    ),
    "NIR: a threshold is read 1 too high": (
        "targets/nir",
        giving(nir_describe, "loose_threshold", lambda t: t + 1.0),
    ),
    "NIR: biases are not read": ("targets/nir", _nir_op("bias", None)),
    "NIR: a kernel is read transposed": ("targets/nir", _nir_transposed()),
    "NIR: the first membrane is not read": (
        "targets/nir",
        giving(nir_describe, "_neuron", lambda op: replace(op, initial=0.0)),
    ),
    "NIR: a soft reset is read as a hard one": (
        "targets/nir",
        giving(
            nir_describe,
            "_neuron",
            lambda op: replace(op, reset="zero" if op.reset == "subtract" else op.reset),
        ),
    ),
    "cpu: > for >=": ("targets/cpu", _cpu_layer(lambda x: x.threshold + 1, "threshold")),
    "cpu: a soft reset takes 1 more": ("targets/cpu", _cpu_layer(lambda x: x.amount + 1, "amount")),
    "cpu: biases left out": ("targets/cpu", _cpu_layer(lambda x: 0 * x.bias, "bias")),
    "cpu: a weight + 1": (
        "targets/cpu",
        giving(cpu_synapses, "whole", lambda w: bumped(w, 1) if w.ndim else w),
    ),
    "cpu: channels of groups shifted": (
        "targets/cpu",
        giving(
            cpu_synapses,
            "convolution",
            lambda arm: (
                replace(arm, weight=np.roll(arm.weight, 1, axis=1)) if arm.weight.ndim > 1 else arm
            ),
        ),
    ),
    "cpu: a delay one step long": (
        "targets/cpu",
        giving(cpu_draft.Draft, "source", lambda s: replace(s, delay=s.delay + (s.delay > 0))),
    ),
    "cpu: IAND with its inputs exchanged": (
        "targets/cpu",
        method(
            cpu_gates,
            "truth",
            lambda old: lambda kind, inputs: 1 << 1 if kind == "iand" else old(kind, inputs),
        ),
    ),
    "cpu: a small neuron becomes the wrong gate": (
        "targets/cpu",
        giving(
            cpu_gates,
            "simplified",
            lambda x: replace(x, table=x.table ^ 2) if x.task == "logic" else x,
        ),
    ),
    "cpu: padding left out": (
        "targets/cpu",
        giving(
            cpu_synapses,
            "convolution",
            lambda arm: (
                replace(arm, stride=arm.stride[::-1], kernel=arm.kernel[::-1])
                if arm.kernel[0] != arm.kernel[1]
                else replace(arm, dilation=(1, 1))
            ),
        ),
    ),
    "C: a threshold + 1": ("targets/c", _c_units("threshold")),
    "C: reset amounts + 1": ("targets/c", _c_units("reset amount")),
    "C: biases left out": ("targets/c", giving(c_lower._Lowering, "_bias", lambda b: 0 * b)),
    "C: kernels flipped": ("targets/c", _c_flipped()),
    "Lava: a threshold not made strict": ("targets/lava", giving(lava_emit, "_strict", _plus)),
    "Lava: kernels not flipped": (
        "targets/lava",
        giving(lava_synapses, "_conv", lambda c: replace(c, weight=c.weight[:, ::-1, ::-1])),
    ),
    "Lava: a stride's axes exchanged": (
        "targets/lava",
        giving(
            lava_synapses,
            "_conv",
            lambda c: replace(
                c, stride=c.stride[::-1], padding=c.padding[::-1], dilation=c.dilation[::-1]
            ),
        ),
    ),
    "Lava: biases left out": (
        "targets/lava",
        giving(lava_emit, "_to_int", lambda b: 0 * b),
    ),
    "Lava: places of an image not in Lava's order": (
        "targets/lava",
        method(lava_synapses, "lava_order", lambda old: lambda x: x.reshape(-1)),
    ),
    "QONNX: a threshold + 1": (
        "targets/qonnx",
        giving(qonnx._Writer, "per_channel", lambda t: t + 1),
    ),
    "QONNX: a weight + 1": (
        "targets/qonnx",
        taking(qonnx._Writer, "weight", 2, lambda w: bumped(w, 1) if w.ndim else w),
    ),
    "QONNX: biases left out": (
        "targets/qonnx",
        taking(qonnx._Writer, "synapse", 2, lambda op: reweighted(op, lambda w: w, None)),
    ),
}
