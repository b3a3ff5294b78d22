#!/usr/bin/env bash
# snntorch_hidden_onnx.sh: a neuron with a hidden state exports to ONNX as a network that never learns of time.
#
# Versions:  torch 2.13.0, snntorch 1.0.0, onnx 1.23.2, onnxruntime 1.31.1
# Behaviour: snn.Leaky(init_hidden=True) exports with torch.onnx.export without an error. The membrane is a
#            constant in the file: every call starts at rest, so an input that makes the neuron fire in
#            every third step makes it fire never.
# Expected:  an error, or a state that goes in and comes out.
# Why it matters: the file loads, has the right shapes and runs everywhere. Only its answers are wrong.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 snntorch==1.0.0 onnx==1.23.2 onnxruntime==1.31.1
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import io
import os
import sys

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import numpy as np
import onnxruntime
import snntorch as snn
import torch
from snntorch import utils

STEPS = 9
net = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False), snn.Leaky(beta=0.9, init_hidden=True)).eval()
net[0].weight.data.fill_(0.4)
file = io.BytesIO()
torch.onnx.export(net, (torch.ones(1, 1),), file, dynamo=False, input_names=["x"])
session = onnxruntime.InferenceSession(file.getvalue())
x = np.ones((1, 1), "float32")
utils.reset(net)
seen = {
    "inputs": [i.name for i in session.get_inputs()],
    "ONNX": [int(session.run(None, {"x": x})[0].item()) for _ in range(STEPS)],
    "torch": [int(net(torch.ones(1, 1))) for _ in range(STEPS)],
}
for name, value in seen.items():
    print(f"{name:7s}", *value)
wanted = {"inputs": ["x"], "ONNX": [0] * STEPS, "torch": [0, 0, 1] * 3}
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
