#!/usr/bin/env bash
# qonnx_executor.sh: qonnx's executor makes models that the ONNX Runtime beside it does not take.
#
# Versions:  qonnx 1.0.0, onnx 1.23.2, onnxruntime 1.31.1 (what its requirements allow)
# Behaviour: execute_onnx runs a network node by node, each as a model of its own, without saying which IR version
#            that has. onnx 1.23 writes 14, onnxruntime 1.31 takes 13 at most: every network with a standard
#            operator stops with "Unsupported model IR version: 14", whatever version its file has.
# Expected:  the IR version of the file.
# Why it matters: it is the reference for QONNX files. onnx.IR_VERSION = 10 before the call is a way around it.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q onnx==1.23.2 onnxruntime==1.31.1 numpy
"$work/venv/bin/pip" install -q --no-deps qonnx==1.0.0 toposort==1.10
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import os
import sys

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnx
from onnx import TensorProto, helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx

ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in ("x", "y")]
graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
opset = [helper.make_opsetid("", 17)]
model = helper.make_model(graph, opset_imports=opset, ir_version=8)


def answer():
    x = np.array([[-1, 2]], np.float32)
    try:
        return execute_onnx(ModelWrapper(model), {"x": x})["y"].tolist()
    except Exception as e:
        return str(e).split("&) ")[-1].strip()


plain = answer()
onnx.IR_VERSION = 10
seen = (plain, answer())
print(*seen, sep="\n")
wanted = seen[1] == [[0.0, 2.0]] and "IR version: 14" in str(plain)
sys.exit(0 if wanted else "changed: see the header for what was seen before")
PY
