#!/usr/bin/env bash
# A loop with a bias: snnTorch applies the bias from the first step on, Norse from the second.
#
# Versions:  torch 2.13.0, nir 1.0.8, nirtorch 2.6, snntorch 1.0.0, norse 1.1.0
# Behaviour: a leaky neuron that hears nothing but itself, through a layer with weight -2 and bias 1.5, fires
#            1 0 1 0 1 0 as snnTorch's RLeaky, and 0 1 0 1 0 1 in the NIR graph of the same loop as Norse runs it.
# Expected:  one meaning of a loop. In RLeaky the spikes of the step before pass through the layer, whose bias
#            is there from the start; in Norse (nirtorch's executor) the output of the layer is a step late.
# Why it matters: networks of snnTorch's RLeaky and RSynaptic have such a bias by default, and NIR does not say
#            which is meant. The recordings published with the NIR paper differ for this reason alone.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip="$work/venv/bin/pip"
"$pip" install -q pbr==7.1.3 setuptools-scm==10.3.4 setuptools==84.2.1 wheel==0.48.0
"$pip" install -q --no-build-isolation torch==2.13.0 nir==1.0.8 nirtorch==2.6 snntorch==1.0.0 norse==1.1.0
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import nir
import norse
import numpy as np
import snntorch
import torch

dt, STEPS, one = 1e-4, 6, np.ones(1)
WEIGHT, BIAS = -2.0, 1.5  # of the recurrent layer; nothing else reaches the neuron


def by_snntorch():
    cell = snntorch.RLeaky(beta=0.5, all_to_all=True, linear_features=1, reset_mechanism="zero")
    with torch.no_grad():
        cell.recurrent.weight.fill_(WEIGHT)
        cell.recurrent.bias.fill_(BIAS)
    spike, membrane, fired = torch.zeros(1, 1), torch.zeros(1, 1), []
    for _ in range(STEPS):
        spike, membrane = cell(torch.zeros(1, 1), spike, membrane)
        fired.append(int(spike))
    return fired


def by_norse():
    lif = nir.LIF(tau=2 * dt * one, r=one, v_leak=0 * one, v_threshold=one, v_reset=0 * one)
    gain = 2  # of the same layer: the equation of NIR multiplies what arrives by dt / tau
    loop = nir.Affine(np.full((1, 1), gain * WEIGHT, "float32"), np.full(1, gain * BIAS, "float32"))
    graph = nir.NIRGraph(
        nodes={
            "input": nir.Input({"input": np.array([1])}),
            "fc": nir.Linear(np.zeros((1, 1), "float32")),
            "lif": lif,
            "w_rec": loop,
            "output": nir.Output({"output": np.array([1])}),
        },
        edges=[
            ("input", "fc"),
            ("fc", "lif"),
            ("lif", "w_rec"),
            ("w_rec", "lif"),
            ("lif", "output"),
        ],
    )
    network, state, fired = norse.torch.from_nir(graph, dt=dt), None, []
    for _ in range(STEPS):
        out, state = network(torch.zeros(1, 1), state)
        fired.append(int(out[0] if isinstance(out, tuple) else out))
    return fired


seen = {"snnTorch": by_snntorch(), "Norse": by_norse()}
for name, fired in seen.items():
    print(f"{name:9s}", *fired)
wanted = {"snnTorch": [1, 0, 1, 0, 1, 0], "Norse": [0, 1, 0, 1, 0, 1]}
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
