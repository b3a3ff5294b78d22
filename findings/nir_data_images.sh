#!/usr/bin/env bash
# nir_data_images.sh: recordings of images that nir's own check cannot take.
#
# Versions:  nir 1.0.8
# Behaviour: NIRGraphData.check_nodes compares n_neurons, one number, with the output shape of the node. Of a vector
#            that works. Of an image of (2, 3, 3) with 18 neurons it raises "The truth value of an array ... is
#            ambiguous", for the right number of neurons and a wrong one alike. The file itself is written and read
#            back without a word.
# Expected:  the product of the shape: neurons are one axis in TimeGriddedData.
# Why it matters: recordings of convolutional networks, which are the ones worth exchanging, cannot be checked
#            against their network, and what catches the error skips the check.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q nir==1.0.8
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import nir
import numpy as np


def outcome(shape, neurons):
    node = nir.IF(np.ones(shape), np.ones(shape))
    ends = {"input": nir.Input(np.array(shape)), "output": nir.Output(np.array(shape))}
    graph = nir.NIRGraph({**ends, "n": node}, [("input", "n"), ("n", "output")])
    data = nir.TimeGriddedData(np.zeros((1, 4, neurons), bool), 1e-3)
    kept = nir.NIRGraphData({"n": nir.NIRNodeData({"spikes": data})})
    nir.write_data("data.h5", kept)
    try:
        nir.read_data("data.h5").check_nodes(graph)
    except ValueError as error:
        return str(error)[:40]
    return "holds"


seen = {}
for shape, neurons in (((18,), 18), ((18,), 17), ((2, 3, 3), 18), ((2, 3, 3), 17)):
    seen[shape, neurons] = outcome(shape, neurons)
    print(f"node of shape {shape}, data of {neurons} neurons: {seen[shape, neurons]}")
words = list(seen.values())
as_before = words[0] == "holds" and words[1].startswith("Observables for node")
as_before &= all(w.startswith("The truth value") for w in words[2:])
sys.exit(0 if as_before else "changed: see the header for what was seen before")
PY
