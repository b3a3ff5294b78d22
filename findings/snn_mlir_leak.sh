#!/usr/bin/env bash
# snn_mlir_leak.sh: snn-mlir turns every LIF with R = 1 into a neuron without memory.
#
# Versions:  snn-mlir 1.0.0, nir 1.0.8
# Behaviour: it takes tau / R for the time step, so that the membrane keeps 1 - 1/R of itself in each step. For
#            R = 1, which is what Norse, sinabs and SpikingJelly write and what the first network of the NIR
#            paper has, that is 0, whatever tau is. `check` says that the file is fine, `export` writes it.
# Expected:  a refusal, or an option for the time step; for tau = 2.5 ms and dt = 0.1 ms, 0.96.
# Why it matters: a supported neuron with a green check fires on other inputs than the trained one. `check` is
#            meant as a gate.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q snn-mlir==1.0.0 nir==1.0.8
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import json
import pathlib
import re
import subprocess
import sys

import nir
import numpy as np

program = pathlib.Path(sys.executable).with_name("snn-mlir")
seen = {}
for r in (1, 25):
    for tau in (0.0025, 0.25):
        one = np.ones(1, "float32")
        graph = nir.NIRGraph(
            nodes={
                "input": nir.Input({"input": np.array([1])}),
                "fc": nir.Linear(np.ones((1, 1), "float32")),
                "lif": nir.LIF(tau=tau * one, r=r * one, v_leak=0 * one, v_threshold=0.1 * one),
                "output": nir.Output({"output": np.array([1])}),
            },
            edges=[("input", "fc"), ("fc", "lif"), ("lif", "output")],
        )
        nir.write("lif.nir", graph)
        checked = subprocess.run([program, "check", "lif.nir", "--json"], capture_output=True, text=True)
        subprocess.run([program, "export", "lif.nir", "-o", "lif.mlir"], check=True, capture_output=True)
        decay = float(re.search(r"decay_float = (\S+)", pathlib.Path("lif.mlir").read_text()).group(1))
        seen[r, tau] = json.loads(checked.stdout)["ok"], round(decay, 4)
        print(f"R = {r}, tau = {tau} s: ok {seen[r, tau][0]}, decay {decay:g}")
wanted = {(1, 0.0025): (True, 0.0), (1, 0.25): (True, 0.0), (25, 0.0025): (True, 0.96), (25, 0.25): (True, 0.96)}
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
