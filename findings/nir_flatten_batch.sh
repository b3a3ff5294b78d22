#!/usr/bin/env bash
# nir_flatten_batch.sh: a NIR Flatten flattens the batch away in some tools.
#
# Versions:  torch 2.13.0, nir 1.0.8, nirtorch 2.6, snntorch 1.0.0, norse 1.1.0, spikingjelly 2.0.0, sinabs 3.1.3
# Behaviour: shapes in NIR have no batch axis, so flattening a sample is start_dim = 0, and snnTorch and
#            sinabs write it so. snnTorch, Norse and nirtorch hand that 0 to torch, where axis 0 is the
#            batch: four samples of 2 x 3 become one vector of 24. SpikingJelly and sinabs add one.
# Expected:  (4, 6) from all.
# Why it matters: with a batch of one and a Linear behind it the mistake does not show; with more it is an
#            error far away, or samples that are mixed. snnTorch does not read back what it writes.
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
import sys

import nir
import nirtorch
import norse
import numpy as np
import sinabs.nir
import torch
from snntorch.export_nir import export_to_nir
from snntorch.import_nir import import_from_nir as snntorch
from spikingjelly.activation_based.nir_exchange import import_from_nir as spikingjelly

x = torch.arange(24.0).reshape(4, 2, 3)


def graph():
    return nir.NIRGraph(
        nodes={
            "input": nir.Input({"input": np.array([2, 3])}),
            "flatten": nir.Flatten({"input": np.array([2, 3])}, start_dim=0),
            "output": nir.Output({"output": np.array([6])}),
        },
        edges=[("input", "flatten"), ("flatten", "output")],
    )


readers = {
    "nirtorch": lambda: nirtorch.nir_to_torch(graph(), {}),
    "snnTorch": lambda: snntorch(graph()),
    "Norse": lambda: norse.torch.from_nir(graph(), dt=1e-3),
    "SpikingJelly": lambda: spikingjelly(graph()),
    "sinabs": lambda: sinabs.nir.from_nir(graph(), batch_size=4),
}
seen = {}
for name, read in readers.items():
    with contextlib.redirect_stdout(io.StringIO()):
        out = read()(x)
    seen[name] = tuple((out[0] if isinstance(out, tuple) else out).shape)
    print(f"{name:13s}{seen[name]}")
net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 1))
exported = export_to_nir(net, x, ignore_dims=[0])
seen["written by snnTorch"] = next(int(n.start_dim) for n in exported.nodes.values() if isinstance(n, nir.Flatten))
print(f"snnTorch writes torch's Flatten(1) with start_dim = {seen['written by snnTorch']}")
wrong, right = (24,), (4, 6)
wanted = {
    "nirtorch": wrong,
    "snnTorch": wrong,
    "Norse": wrong,
    "SpikingJelly": right,
    "sinabs": right,
    "written by snnTorch": 0,
}
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
