#!/usr/bin/env bash
# A membrane exactly at its threshold: some frameworks fire, some do not.
#
# Versions:  torch 2.13.0, snntorch 1.0.0, norse 1.1.0, spikingjelly 2.0.0, sinabs 3.1.3, rockpool 3.1.0
# Behaviour: snnTorch and Norse fire above the threshold, SpikingJelly, sinabs and Rockpool at or above it.
# Expected:  one meaning; the NIR specification, which all five read and write, says "above".
# Why it matters: with weights such as 0.5 and a threshold of 1, ties are no accident, and integer weights
#            make them common. The same file then makes a spike every second or every third step.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
pip="$work/venv/bin/pip"
"$pip" install -q pbr==7.1.3 setuptools-scm==10.3.4 setuptools==84.2.1 wheel==0.48.0
"$pip" install -q --no-build-isolation torch==2.13.0 nir==1.0.8 nirtorch==2.6 snntorch==1.0.0 \
  norse==1.1.0 rockpool==3.1.0 spikingjelly==2.0.0
"$pip" install -q --no-build-isolation --no-deps sinabs==3.1.3
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import torch

STEPS, WEIGHT, THRESHOLD = 8, 0.5, 1.0  # sums of halves are exact: the second step is a tie


def snntorch():
    import snntorch as snn

    neuron = snn.Leaky(beta=1.0, threshold=THRESHOLD, reset_mechanism="zero", reset_delay=False)
    membrane, fired = neuron.init_leaky(), []
    for _ in range(STEPS):
        spike, membrane = neuron(torch.tensor([WEIGHT]), membrane)
        fired.append(int(spike))
    return fired


def norse():
    from norse.torch.module.iaf import IAFCell, IAFParameters

    neuron, state, fired = IAFCell(IAFParameters(v_th=torch.tensor(THRESHOLD))), None, []
    for _ in range(STEPS):
        spike, state = neuron(torch.tensor([WEIGHT]), state)
        fired.append(int(spike))
    return fired


def spikingjelly():
    from spikingjelly.activation_based.neuron import IFNode

    neuron = IFNode(v_threshold=THRESHOLD, v_reset=0.0)
    return [int(neuron(torch.tensor([WEIGHT]))) for _ in range(STEPS)]


def sinabs():
    import sinabs.activation as act
    import sinabs.layers as sl

    neuron = sl.IAF(spike_threshold=THRESHOLD, reset_fn=act.MembraneReset())
    return neuron(torch.full((1, STEPS, 1), WEIGHT)).int().flatten().tolist()


def rockpool():
    from rockpool.nn.modules.torch import LIFTorch

    # No leak within float32; what arrives in each step is the bias
    neuron = LIFTorch(1, tau_mem=1e9, tau_syn=1e-3, threshold=THRESHOLD, bias=WEIGHT, dt=1e-3)
    output, _, _ = neuron(torch.zeros(1, STEPS, 1))
    return output.int().flatten().tolist()


every_second, every_third = [0, 1] * 4, [0, 0, 1, 0, 0, 1, 0, 0]
expected = {
    snntorch: every_third,
    norse: every_third,
    spikingjelly: every_second,
    sinabs: every_second,
    rockpool: every_second,
}
changed = False
for run, wanted in expected.items():
    seen = run()
    changed |= seen != wanted
    print(f"{run.__name__:13s}{' '.join(map(str, seen))}")
sys.exit("changed: see the header for what was seen before" if changed else 0)
PY
