#!/usr/bin/env bash
# rockpool_nir.sh: shapes and neurons that Rockpool writes to NIR, and other tools (and it) cannot read.
#
# Versions:  torch 2.13.0, nir 1.0.8, nirtorch 2.6, rockpool 3.1.0
# Behaviour: the Input of an exported network is (1, T, N), of the sample data, and the Output (1, T, N) too, while
#            the nodes between are (N); without sample data the Output is (1, 1, N). Such a graph exists only
#            since its shapes are not compared: written and read, nir refuses it. A plain LIF node, which
#            Rockpool writes for LIFNeuronTorch, is an AttributeError in its own reader.
# Expected:  shapes without batch and time, as the specification says, and a reader of what is written.
# Why it matters: the chain to and from Xylo by NIR stops at the first file.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 nir==1.0.8 nirtorch==2.6 rockpool==3.1.0
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import nir
import numpy as np
import torch
from rockpool.nn.combinators import Sequential
from rockpool.nn.modules import LIFTorch, LinearTorch
from rockpool.nn.modules.torch.nir import from_nir, to_nir

net = Sequential(LinearTorch((2, 3), has_bias=False), LIFTorch(3, tau_mem=0.02, tau_syn=0.01, dt=1e-3))
seen = {}
for name, sample in {"5 steps": torch.zeros(1, 5, 2), "no sample": None}.items():
    graph = to_nir(net, sample)
    ends = graph.nodes["input"].input_type["input"], graph.nodes["output"].output_type["output"]
    seen[name] = [tuple(int(n) for n in end) for end in ends]
    print(f"{name}: Input {seen[name][0]}, Output {seen[name][1]}")
    try:
        nir.write("rockpool.nir", graph)
        nir.read("rockpool.nir")
        seen[name, "read"] = "accepted"
    except ValueError as error:
        seen[name, "read"] = "refused"
        print(f"  written and read: {error}")
one = np.ones(1)
plain = nir.NIRGraph(
    nodes={
        "input": nir.Input({"input": np.array([1])}),
        "lif": nir.LIF(tau=0.01 * one, r=10 * one, v_leak=0 * one, v_threshold=one),
        "output": nir.Output({"output": np.array([1])}),
    },
    edges=[("input", "lif"), ("lif", "output")],
)
try:
    from_nir(plain)
    seen["LIF"] = "read"
except AttributeError as error:
    seen["LIF"] = str(error)
print(f"a LIF node: {seen['LIF']}")
wanted = {
    "5 steps": [(1, 5, 2), (1, 5, 3)],
    ("5 steps", "read"): "refused",
    "no sample": [(1, 2), (1, 1, 3)],
    ("no sample", "read"): "refused",
    "LIF": "'LIF' object has no attribute 'tau_mem'",
}
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
