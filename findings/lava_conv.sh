#!/usr/bin/env bash
# lava_conv.sh: Lava's Conv turns its kernel, and takes two options without using them.
#
# Versions:  lava-nc 0.10.0 (needs Python 3.10: python3.10, or PYTHON310=/path/to/it), fixed point, CPU
# Behaviour: Conv is the convolution of mathematics: the response to one spike is the kernel itself. torch's
#            (and NIR's, and ONNX's) "convolution" is a correlation: the response is the kernel turned by
#            180 degrees. weight_exp and num_weight_bits change nothing in Conv; Dense applies both.
# Expected:  a word about it, and the same treatment of the same arguments.
# Why it matters: weights copied from torch give another network, with plausible activity. A shared exponent
#            that was moved out of the weights is lost.
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
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source


def run(process, spikes):
    source, sink = Source(data=spikes), Sink(shape=process.a_out.shape, buffer=spikes.shape[-1])
    source.s_out.connect(process.s_in)
    process.a_out.connect(sink.a_in)
    process.run(condition=RunSteps(spikes.shape[-1]), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    values = sink.data.get()[..., -1]
    process.stop()
    return values


if __name__ == "__main__":
    image = np.zeros((3, 3, 1, 3), int)
    image[1, 1, 0, :] = 1  # one spike, in the middle
    kernel = np.arange(1, 10).reshape(1, 3, 3, 1)
    response = run(Conv(weight=kernel, input_shape=(3, 3, 1), padding=(1, 1)), image)[..., 0]
    print("response to one spike:", *response.astype(int).tolist())
    seen = {"response": response.astype(int).ravel().tolist()}
    for options in ({}, {"weight_exp": 2}, {"num_weight_bits": 4}):
        conv = run(Conv(weight=np.full((1, 1, 1, 1), 37), input_shape=(1, 1, 1), **options), np.ones((1, 1, 1, 3), int))
        dense = run(Dense(weights=np.array([[37]]), **options), np.ones((1, 3), int))
        seen[str(options)] = int(conv.item()), int(dense.item())
        print(f"a weight of 37 with {options}: Conv {conv.item():g}, Dense {dense.item():g}")
    wanted = {
        "response": list(range(1, 10)),
        "{}": (37, 37),
        "{'weight_exp': 2}": (37, 148),
        "{'num_weight_bits': 4}": (37, 32),
    }
    sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
