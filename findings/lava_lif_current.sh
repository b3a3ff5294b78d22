#!/usr/bin/env bash
# lava_lif_current.sh: at one value, the strongest inhibition makes a Lava neuron fire.
#
# Versions:  lava-nc 0.10.0 (needs Python 3.10: python3.10, or PYTHON310=/path/to/it), fixed point, CPU
# Behaviour: the synaptic current has 24 bits. 1,023 spikes over weights of -128 inhibit, as they should.
#            1,024 make the current -2^23, which is turned into +2^23, and the neuron fires in every step.
# Expected:  -2^23 is a value of 24 bits; a register that saturates keeps it.
# Why it matters: a thousand inhibitory spikes in one step are an ordinary fully connected layer. Bounds
#            have to exclude this value, not only what lies beyond the register.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON310:-python3.10}" -m venv "$work/venv"
"$work/venv/bin/pip" install -q lava-nc==0.10.0 numpy==1.26.4 scipy==1.15.3 networkx==2.8.7
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import Dense
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.process import LIF

STEPS = 4

if __name__ == "__main__":
    seen = {}
    for n in (1023, 1024):
        source, sink = Source(data=np.ones((n, STEPS), int)), Sink(shape=(1,), buffer=STEPS)
        dense, neuron = Dense(weights=np.full((1, n), -128)), LIF(shape=(1,), du=4095, dv=0, vth=100)
        source.s_out.connect(dense.s_in)
        dense.a_out.connect(neuron.a_in)
        neuron.s_out.connect(sink.a_in)
        neuron.run(condition=RunSteps(STEPS), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
        seen[n] = int(neuron.u.get()[0]), int(sink.data.get().sum())
        print(f"{n} spikes over weights of -128: current {seen[n][0]}, {seen[n][1]} spikes in {STEPS} steps")
        neuron.stop()
    wanted = {1023: (-8380416, 0), 1024: (8388608, 3)}
    sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
