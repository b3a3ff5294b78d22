#!/usr/bin/env bash
# norse_time_constants.sh: Norse writes time constants to NIR that it does not read back.
#
# Versions:  torch 2.13.0, nir 1.0.8, nirtorch 2.6, norse 1.1.0
# Behaviour: a membrane with tau_mem_inv = 100 per second, 10 ms, is written with tau = dt * 10 ms = 0.01 ms.
#            Read by Norse itself with the same dt it has a time constant of a hundredth of a step.
# Expected:  tau = 10 ms, which is what its reader takes (it computes 1 / tau).
# Why it matters: every other tool believes the file. Membranes there forget at once, or blow up.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pbr==7.1.3 setuptools-scm==10.3.4 setuptools==84.2.1 wheel==0.48.0
"$work/venv/bin/pip" install -q --no-build-isolation torch==2.13.0 nir==1.0.8 nirtorch==2.6 norse==1.1.0
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import nir
import norse.torch as norse
import torch

DT, STEPS = 1e-3, 50
parameters = norse.LIFBoxParameters(
    tau_mem_inv=torch.full((2,), 100.0), v_th=torch.ones(2), v_leak=torch.zeros(2)
)
cell = norse.LIFBoxCell(parameters, dt=DT)
net = torch.nn.Sequential(torch.nn.Linear(1, 2, bias=False), cell)
net[0].weight.data.fill_(2.0)
graph = norse.to_nir(net, torch.zeros(1, 1), dt=DT)
(tau,) = (float(n.tau[0]) for n in graph.nodes.values() if isinstance(n, nir.LIF))
back = norse.from_nir(graph, dt=DT)


def spikes():
    state, mine, first = None, 0, None
    for _ in range(STEPS):
        out, state = cell(net[0](torch.ones(1, 1)), state)
        mine += int(out[0, 0])
    again = next(m for m in back.modules() if isinstance(m, norse.LIFBoxCell))
    return mine, float(again.p.tau_mem_inv.flatten()[0])


fired, inverse = spikes()
print(f"Norse: 1 / tau = 100 per second, {fired} spikes in {STEPS} steps")
print(f"in the file: tau = {tau:g} s")
print(f"read back: 1 / tau = {inverse:g} per second, {inverse * DT:g} per step of {DT:g} s")
seen, wanted = (round(tau * 1e7), round(inverse / 1e3)), (100, 100)
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
