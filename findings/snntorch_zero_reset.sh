#!/usr/bin/env bash
# snntorch_zero_reset.sh: reset_mechanism="zero" is two mechanisms in snnTorch, by class.
#
# Versions:  torch 2.13.0, snntorch 1.0.0
# Behaviour: with the default reset_delay=True, Leaky clears the membrane in the step after a spike and keeps
#            what arrives in that step; Synaptic and RLeaky clear both. Under a steady current of 0.8 and a
#            decay of 0.5, Leaky fires every second step, the others every third. With reset_delay=False all
#            three agree. Lapicque loses the step's input too, and has no such option.
# Expected:  one meaning of one word: Synaptic with alpha = 0 and RLeaky without recurrence are Leaky.
# Why it matters: a third of the spikes, and with them accuracy and energy, depend on it. A converter has to
#            treat the option by class.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 snntorch==1.0.0
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import snntorch as snn
import torch

STEPS, common = 8, {"beta": 0.5, "threshold": 1.0, "reset_mechanism": "zero"}
classes = {
    "Leaky": lambda **k: snn.Leaky(**common, **k),
    "Synaptic": lambda **k: snn.Synaptic(alpha=0.0, **common, **k),
    "RLeaky": lambda **k: snn.RLeaky(V=0.0, all_to_all=False, **common, **k),
}
seen = {}
for name, make in classes.items():
    for delay in (True, False):
        neuron, state, fired = make(reset_delay=delay), (), []
        for _ in range(STEPS):
            spike, *state = neuron(torch.tensor([0.8]), *state)
            state = (spike, *state) if name == "RLeaky" else state
            fired.append(int(spike))
        seen[name, delay] = fired
        print(f"{name:9s} reset_delay={delay!s:6s}", *fired)
second, third = [0, 1] * 4, [0, 1, 0, 0, 1, 0, 0, 1]
wanted = {(name, delay): second for name in classes for delay in (True, False)}
wanted["Synaptic", True] = wanted["RLeaky", True] = third
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
