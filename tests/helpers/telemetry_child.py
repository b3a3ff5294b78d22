"""Runs a network in onnxruntime, which is imported before purespike where that is asked for.

    python telemetry_child.py first|after

Prints the warnings of purespike.
"""

import sys
import warnings

if sys.argv[1] == "first":
    import onnxruntime  # noqa: F401

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import purespike  # noqa: F401
for warning in caught:
    print(f"{warning.category.__name__}: {warning.message}")

import numpy as np  # noqa: E402

from purespike.compiler.ir.domain import SPIKE  # noqa: E402
from purespike.compiler.ir.graph import Edge, build  # noqa: E402
from purespike.compiler.ir.ops import FixedPoint, Linear, Neuron  # noqa: E402
from purespike.targets.onnx import run_onnx, step_model  # noqa: E402

graph = build(
    (Edge("x", (4,), SPIKE),),
    [
        ("fc", Linear(np.full((2, 4), 16.0)), ("x",)),
        ("out", Neuron(np.array(48.0), fixed=FixedPoint()), ("fc",)),
    ],
    ("out",),
    2,
)
trace = run_onnx(step_model(graph), graph, np.ones((2, 1, 4), np.uint8))
assert trace.values["out"].tolist() == [[[1.0, 1.0]], [[1.0, 1.0]]]
