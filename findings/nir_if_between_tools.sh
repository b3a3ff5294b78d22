#!/usr/bin/env bash
# nir_if_between_tools.sh: an integrate-and-fire neuron does not get from SpikingJelly to snnTorch, nor alone.
#
# Versions:  torch 2.13.0, nir 1.0.8, nirtorch 2.6, snntorch 1.0.0, spikingjelly 2.0.0
# Behaviour: SpikingJelly writes its IFNode with R = 1/dt = 10000 and reads no other R; snnTorch reads only
#            R = 1, so each refuses the other's files. What snnTorch reads becomes a leaky neuron that keeps
#            0.9 of its membrane in each step and resets by subtraction: under a current of 0.09 it never fires.
# Expected:  one convention for R (with NIR's equation dv/dt = R I it is 1/dt), and no leak in an IF.
# Why it matters: IF is the neuron of converted networks and of most chips.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 nir==1.0.8 nirtorch==2.6 snntorch==1.0.0 spikingjelly==2.0.0
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import contextlib
import io
import sys

import nir
import numpy as np
import torch
from snntorch.import_nir import import_from_nir as snntorch
from spikingjelly.activation_based import layer, neuron
from spikingjelly.activation_based.nir_exchange import export_to_nir, import_from_nir

STEPS, CURRENT = 60, 0.09


def graph(r):
    one = np.ones(1, "float32")
    return nir.NIRGraph(
        nodes={
            "input": nir.Input({"input": np.array([1])}),
            "fc": nir.Linear(np.full((1, 1), CURRENT, "float32")),
            "if": nir.IF(r=r * one, v_threshold=one, v_reset=0 * one),
            "output": nir.Output({"output": np.array([1])}),
        },
        edges=[("input", "fc"), ("fc", "if"), ("if", "output")],
    )


def error_of(call):
    try:
        call()
    except (AssertionError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return None


theirs = torch.nn.Sequential(layer.Linear(1, 1, bias=False), neuron.IFNode(v_reset=0.0))
written = export_to_nir(theirs, torch.ones(1, 1), dt=1e-4)
(r,) = (float(n.r[0]) for n in written.nodes.values() if isinstance(n, nir.IF))
with contextlib.redirect_stdout(io.StringIO()):
    network, state, fired = snntorch(graph(1)), None, 0
    for _ in range(STEPS):
        spike, state = network(torch.ones(1, 1), state)
        fired += int(spike[0] if isinstance(spike, tuple) else spike)
    refusals = error_of(lambda: snntorch(graph(10000))), error_of(lambda: import_from_nir(graph(1), dt=1e-4))
(leaky,) = (m for m in network.modules() if hasattr(m, "beta"))
print(f"SpikingJelly writes R = {r:g}")
print(f"snnTorch reads R = 10000:  {refusals[0]}")
print(f"SpikingJelly reads R = 1:  {refusals[1]}")
print(f"snnTorch reads R = 1: beta {float(leaky.beta):.2f}, reset by {leaky.reset_mechanism}; {fired} spikes")
print(f"an IF without a leak makes {sum(1 for t in range(STEPS) if t % 12 == 11)} under a current of {CURRENT}")
seen = round(r), all(refusals), round(float(leaky.beta), 2), leaky.reset_mechanism, fired
wanted = 10000, True, 0.9, "subtract", 0
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
