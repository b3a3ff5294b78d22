#!/usr/bin/env bash
# lava_sigma_delta.sh: state_exp scales what Delta receives, and not what SigmaDelta receives.
#
# Versions:  lava-nc 0.10.0 (needs Python 3.10: python3.10, or PYTHON310=/path/to/it), fixed point, CPU
# Behaviour: both scale threshold and output by state_exp. Delta scales its input too, so that its output does
#            not depend on the option. SigmaDelta does not: with state_exp=2 all that it sends is divided by 4.
# Expected:  an exponent of the state that is not seen outside, in both.
# Why it matters: the option is for precision. Here it changes every value of a sigma-delta network.
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
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.sdn.process import Delta, SigmaDelta

VALUES = [0, 0, 10, 10, 10, 30, 30, 30]

if __name__ == "__main__":
    seen = {}
    for kind in (Delta, SigmaDelta):
        for exponent in (0, 2):
            process = kind(shape=(1,), vth=1, state_exp=exponent)
            source, sink = Source(data=np.array([VALUES])), Sink(shape=(1,), buffer=len(VALUES))
            source.s_out.connect(process.a_in)
            process.s_out.connect(sink.a_in)
            process.run(condition=RunSteps(len(VALUES)), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
            seen[kind.__name__, exponent] = sink.data.get().astype(int).ravel().tolist()
            process.stop()
            print(f"{kind.__name__:11s}state_exp={exponent}:", *seen[kind.__name__, exponent])
    delta, sigma = [0, 0, 10, 0, 0, 20, 0, 0], [0, 0, 10, 10, 10, 30, 30, 30]
    wanted = {
        ("Delta", 0): delta,
        ("Delta", 2): delta,
        ("SigmaDelta", 0): sigma,
        ("SigmaDelta", 2): [v // 4 for v in sigma],
    }
    sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
