#!/usr/bin/env bash
# snntorch_nir_scalars.sh: snnTorch writes neurons of one number to NIR, and nir cannot read them.
#
# Versions:  torch 2.13.0, nir 1.0.7, nirtorch 2.6, snntorch 0.9.4
# Behaviour: a decay or threshold that is one number for a layer, the default, becomes a parameter without axes. nir
#            1.0.7 writes the file, and its reader says "type mismatch: fc1.output: [[12]] -> lif1.input: []". A sample
#            with a batch axis makes an Input of (1, 20) in front of a layer of 20, which is refused, too.
# Expected:  a value for each neuron, as the specification says, or a reader that takes one for all.
# Why it matters: the network of a tutorial is written and cannot be read again, by no tool that uses nir's reader
#            (snnTorch issues 334 and 410; Norse writes one element for all, issue 412).
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 nir==1.0.7 nirtorch==2.6 snntorch==0.9.4
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import nir
import snntorch
import torch
from snntorch.export_nir import export_to_nir
from torch import nn


def net():
    return nn.Sequential(nn.Linear(20, 12), snntorch.Leaky(beta=0.5, init_hidden=True))


seen = {}
for name, sample in {"no batch": torch.zeros(20), "a batch": torch.zeros(1, 20)}.items():
    nir.write("snn.nir", export_to_nir(net(), sample))
    try:
        nir.read("snn.nir")
        seen[name] = "read"
    except ValueError as error:
        seen[name] = str(error).split("type mismatch: ")[-1]
    print(f"{name}: {seen[name]}")
wanted = {
    "no batch": "0.output: [[12]] -> 1.input: []",
    "a batch": "input.output: [[ 1 20]] -> 0.input: [[20]]",
}
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
