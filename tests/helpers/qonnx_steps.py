"""QONNX's custom operators from their specification, and a run of a model's steps.

qonnx 1.0 documentation of ``IntQuant`` and ``MultiThreshold``, written here anew; everything else
by onnx's reference evaluator.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from purespike.targets.onnx.metadata import metadata


class IntQuant(OpRun):
    op_domain = "qonnx.custom_op.general"

    def _run(self, x, scale, zero, bits, signed=1, narrow=0, rounding_mode="ROUND"):  # type: ignore[no-untyped-def]
        assert rounding_mode == "ROUND" and not narrow
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        whole = np.clip(np.rint(x / scale + zero), low, high)
        return (((whole - zero) * scale).astype(np.float32),)


class MultiThreshold(OpRun):
    op_domain = "qonnx.custom_op.general"

    def _run(self, x, thresholds, out_dtype=None):  # type: ignore[no-untyped-def]
        assert out_dtype == "BINARY" and thresholds.shape[0] in (1, x.shape[1])
        table = thresholds.reshape(-1, *(1,) * (x.ndim - 2), thresholds.shape[1])
        return ((x[..., None] >= table).sum(axis=-1).astype(np.float32),)


def limits(datatype: str) -> tuple[int, int]:
    if datatype == "BINARY":
        return 0, 1
    bits = int(datatype.removeprefix("U").removeprefix("INT"))
    return (0, 2**bits - 1) if datatype[0] == "U" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def execute(model: onnx.ModelProto, x: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(every tensor, its datatype) over the steps; each tensor is checked against its annotation.

    ``x`` is (T, B, *shape), or one such array for each input by name.
    """
    given = x if isinstance(x, dict) else {model.graph.input[0].name: x}
    steps, batch = next(iter(given.values())).shape[:2]
    kinds = {
        a.tensor_name: a.quant_parameter_tensor_names[0].value
        for a in model.graph.quantization_annotation
    }
    outputs = [o.name for o in model.graph.output]
    inner = sorted({o for n in model.graph.node for o in n.output} - set(outputs))
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    tapped.graph.output.extend(onnx.helper.make_empty_tensor_value_info(n) for n in inner)
    session = ReferenceEvaluator(tapped, new_ops=[IntQuant, MultiThreshold])
    states = {
        s["before"]: np.full((batch, *s["shape"]), s["initial"], np.float32)
        for s in metadata(model)["states"]
    }
    rows: list[dict[str, Any]] = []
    for t in range(steps):
        feeds = {name: a[t].astype(np.float32) for name, a in given.items()} | states
        made = dict(zip([*outputs, *inner], session.run(None, feeds), strict=True))
        for name, value in (made | feeds).items():
            low, high = limits(kinds[name])
            assert value.dtype == np.float32 and (np.rint(value) == value).all(), name
            assert low <= value.min() and value.max() <= high, f"{name}: {kinds[name]}"
        states = {b: made[b.removesuffix("_in") + "_out"] for b in states}
        rows.append(made)
    return {n: np.stack([r[n] for r in rows]) for n in rows[0]}, kinds
