#!/usr/bin/env bash
# brevitas_one_bit.sh: a quantized ReLU of one bit is exported as a network that answers the same to everything.
#
# Versions:  torch 2.13.0, brevitas 0.13.4, onnx 1.23.2, onnxoptimizer 0.4.2; run by qonnx 1.0.0, onnxruntime 1.31.1
# Behaviour: QuantReLU(bit_width=1) gives 0 or its scale. export_qonnx writes Relu and BipolarQuant, which is the
#            scale for every number from 0 on, and so for all that a ReLU gives: the activation is a constant.
# Expected:  Quant with one bit, unsigned (which QONNX has), or an error.
# Why it matters: the file loads, passes every checker and has the right shapes. Only its answers are wrong, and
#            networks of one bit are what FPGA flows and spiking chips ask for.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 onnx==1.23.2 onnxruntime==1.31.1 sympy scipy tqdm packaging typing-extensions
"$work/venv/bin/pip" install -q --no-deps brevitas==0.13.4 dependencies==2.0.1 unfoldNd==0.2.3 onnxoptimizer==0.4.2 \
  qonnx==1.0.0 toposort==1.10
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import os
import sys

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnx
import torch
from brevitas.export import export_qonnx
from brevitas.nn import QuantReLU
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes

onnx.IR_VERSION = 10  # qonnx runs node by node in models of the newest version, which its runtime refuses
x = torch.tensor([[-1.0, 0.0, 0.2, 0.8, 3.0]])
act = QuantReLU(bit_width=1).eval()
export_qonnx(act, args=x, export_path="act.onnx", dynamo=False)
nodes = [(n.op_type) for n in onnx.load("act.onnx").graph.node if n.op_type != "Constant"]
scale = float(act.act_quant.scale())
model = ModelWrapper("act.onnx").transform(InferShapes())
(answer,) = execute_onnx(model, {model.graph.input[0].name: x.numpy()}).values()
seen = {
    "nodes": nodes,
    "Brevitas": (act(x) / scale).flatten().tolist(),
    "the file": (answer / scale).flatten().tolist(),
}
for name, value in seen.items():
    print(f"{name:9s}", *value)
wanted = {"nodes": ["Relu", "BipolarQuant"], "Brevitas": [0, 0, 0, 1, 1], "the file": [1.0] * 5}
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
