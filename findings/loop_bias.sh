#!/usr/bin/env bash
# One NIR file, a loop with a bias: snnTorch applies the bias from the first step on, Norse from the second.
#
# Versions:  torch 2.13.0, nir 1.0.8, nirtorch 2.6, snntorch 1.0.0, norse 1.1.0
# Behaviour: a CubaLIF neuron with no other input, whose recurrent Affine has weight -1 and bias 1, fires
#            1 0 1 0 1 0 in snnTorch and 0 1 0 1 0 1 in Norse; both read the same graph.
# Expected:  one meaning of a loop. In snnTorch the spikes of the step before pass through the layer, in
#            Norse (nirtorch's executor) the output of the layer is what is a step late.
# Why it matters: networks of snnTorch's RLeaky and RSynaptic have such a bias by default. The recordings
#            published with the NIR paper differ for this reason alone.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip="$work/venv/bin/pip"
"$pip" install -q pbr==7.1.3 setuptools==84.2.1 wheel==0.48.0
"$pip" install -q --no-build-isolation torch==2.13.0 nir==1.0.8 nirtorch==2.6 snntorch==1.0.0 norse==1.1.0
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import contextlib
import io
import sys

import nir
import norse
import numpy as np
import torch
from snntorch.import_nir import import_from_nir

dt, STEPS, one = 1e-4, 6, np.ones(1)


def graph():
    neuron = nir.CubaLIF(
        tau_syn=dt * one, tau_mem=2 * dt * one, r=2 * one, v_leak=0 * one, v_threshold=0.9 * one, w_in=one
    )
    return nir.NIRGraph(
        nodes={
            "input": nir.Input({"input": np.array([1])}),
            "fc": nir.Linear(np.zeros((1, 1), "float32")),
            "lif1.lif": neuron,
            "lif1.w_rec": nir.Affine(-np.ones((1, 1), "float32"), np.ones(1, "float32")),
            "output": nir.Output({"output": np.array([1])}),
        },
        edges=[
            ("input", "fc"),
            ("fc", "lif1.lif"),
            ("lif1.lif", "lif1.w_rec"),
            ("lif1.w_rec", "lif1.lif"),
            ("lif1.lif", "output"),
        ],
    )


def spikes(network):
    state, fired = None, []
    for _ in range(STEPS):
        out, state = network(torch.zeros(1, 1), state)
        fired.append(int(out[0] if isinstance(out, tuple) else out))
    return fired


with contextlib.redirect_stdout(io.StringIO()):  # it prints what it rewrites
    theirs = import_from_nir(graph())
seen = {"snnTorch": spikes(theirs), "Norse": spikes(norse.torch.from_nir(graph(), dt=dt))}
for name, fired in seen.items():
    print(f"{name:9s}", *fired)
wanted = {"snnTorch": [1, 0, 1, 0, 1, 0], "Norse": [0, 1, 0, 1, 0, 1]}
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
