#!/usr/bin/env bash
# nir_lif_fields.sh: one NIR neuron, four readers, and which of its fields each of them takes.
#
# Versions:  torch 2.13.0, nir 1.0.8, nirtorch 2.6, snntorch 1.0.0, norse 1.1.0, spikingjelly 2.0.0, sinabs 3.1.3
# Behaviour: of the same LIF node, R = 2 is taken by snnTorch, ignored by Norse (with a warning in the log),
#            refused by SpikingJelly; v_reset = -0.5 is ignored by snnTorch and Norse, refused by
#            SpikingJelly. sinabs takes tau, which is in seconds, for a number of steps, so that the neuron
#            is another one in each case; its reader does not look at R and v_reset.
# Expected:  the equation in the specification of NIR, in steps of dt, or a refusal; the first line that
#            this prints.
# Why it matters: a file that every tool opens without an error is four different networks.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip="$work/venv/bin/pip"
"$pip" install -q pbr==7.1.3 setuptools-scm==10.3.4 setuptools==84.2.1 wheel==0.48.0
"$pip" install -q --no-build-isolation torch==2.13.0 nir==1.0.8 nirtorch==2.6 \
  snntorch==1.0.0 norse==1.1.0 spikingjelly==2.0.0
"$pip" install -q --no-build-isolation --no-deps sinabs==3.1.3
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import contextlib
import io
import logging
import sys

import nir
import norse
import numpy as np
import sinabs.nir
import torch
from snntorch.import_nir import import_from_nir as snntorch
from spikingjelly.activation_based.nir_exchange import import_from_nir as spikingjelly

logging.disable(logging.CRITICAL)
DT, TAU, STEPS = 1e-4, 10, 30  # TAU in steps


def graph(weight, r, v_reset):
    one = np.ones(1, "float32")
    return nir.NIRGraph(
        nodes={
            "input": nir.Input({"input": np.array([1])}),
            "fc": nir.Linear(np.full((1, 1), weight, "float32")),
            "lif": nir.LIF(
                tau=TAU * DT * one, r=r * one, v_leak=0 * one, v_threshold=one, v_reset=v_reset * one
            ),
            "output": nir.Output({"output": np.array([1])}),
        },
        edges=[("input", "fc"), ("fc", "lif"), ("lif", "output")],
    )


def specification(weight, r, v_reset):
    v, fired = 0.0, []
    for _ in range(STEPS):
        v += (r * weight - v) / TAU
        fired.append(int(v > 1))
        v = v_reset if v > 1 else v
    return fired


def stepped(network):
    state, fired = None, []
    for _ in range(STEPS):
        spike, state = network(torch.ones(1, 1), state)
        fired.append(int(spike))
    return fired


readers = {
    "snnTorch": lambda g: stepped(snntorch(g)),
    "Norse": lambda g: stepped(norse.torch.from_nir(g, dt=DT)),
    "SpikingJelly": lambda g: stepped(spikingjelly(g, dt=DT)),
    "sinabs": lambda g: [
        int(s) for s in sinabs.nir.from_nir(g, batch_size=1)(torch.ones(STEPS, 1))[0].flatten()
    ],
}
cases = {"plain": (2, 1, 0), "R = 2": (1, 2, 0), "v_reset = -0.5": (2, 1, -0.5)}
seen = {}
for case, values in cases.items():
    right = specification(*values)
    print(f"{case}: spikes at steps {[t for t, s in enumerate(right) if s]}")
    for name, read in readers.items():
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                fired = read(graph(*values))
        except ValueError as error:
            seen[case, name] = "refused"
            print(f"  {name:13s}refused: {error}")
            continue
        seen[case, name] = "right" if fired == right else "wrong"
        print(f"  {name:13s}{seen[case, name]}: {[t for t, s in enumerate(fired) if s]}")
wanted = {
    ("plain", "snnTorch"): "right",
    ("plain", "Norse"): "right",
    ("plain", "SpikingJelly"): "right",
    ("plain", "sinabs"): "wrong",
    ("R = 2", "snnTorch"): "right",
    ("R = 2", "Norse"): "wrong",
    ("R = 2", "SpikingJelly"): "refused",
    ("R = 2", "sinabs"): "wrong",
    ("v_reset = -0.5", "snnTorch"): "wrong",
    ("v_reset = -0.5", "Norse"): "wrong",
    ("v_reset = -0.5", "SpikingJelly"): "refused",
    ("v_reset = -0.5", "sinabs"): "wrong",
}
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
