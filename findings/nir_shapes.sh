#!/usr/bin/env bash
# nir_shapes.sh: valid graphs that nir refuses, and wrong ones that it writes.
#
# Versions:  nir 1.0.8
# Behaviour: refused: a depthwise Conv2d (its input channels are taken for 1), a kernel of 3 x 5 with its true
#            output shape, padding 'same' with a stride of 2 with its true output shape. Accepted and written:
#            the same two with the wrong shape, a bias of 7 numbers for one channel, and a node name with a
#            slash, which nir itself cannot read back. An auxiliary head that leads nowhere silently becomes
#            a second output of the network.
# Expected:  the shapes of the convolution, and errors where something does not fit.
# Why it matters: depthwise convolutions, which chips like, only get through with type_check=False, and then
#            nothing is checked.
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


def graph(nodes, edges, into, out):
    ends = {"input": nir.Input({"input": np.array(into)}), "output": nir.Output({"output": np.array(out)})}
    return nir.NIRGraph(nodes={**nodes, **ends}, edges=edges)


def conv(weight, into, out, bias=1, **options):
    options = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1} | options
    node = nir.Conv2d(input_shape=into[1:], weight=np.ones(weight), bias=np.zeros(bias), **options)
    return graph({"conv": node}, [("input", "conv"), ("conv", "output")], into, out)


def slash():
    node = {"block/1": nir.Linear(np.ones((1, 1)))}
    nir.write("slash.nir", graph(node, [("input", "block/1"), ("block/1", "output")], [1], [1]))
    return nir.read("slash.nir")


def head():
    nodes = {"a": nir.Linear(np.ones((1, 1))), "aux": nir.Linear(np.ones((1, 1)))}
    made = graph(nodes, [("input", "a"), ("a", "output"), ("a", "aux")], [1], [1])
    return [name for name, node in made.nodes.items() if isinstance(node, nir.Output)]


cases = {
    "depthwise, true shape": lambda: conv((4, 1, 3, 3), (4, 8, 8), (4, 6, 6), bias=4, groups=4),
    "3 x 5, true shape": lambda: conv((1, 1, 3, 5), (1, 8, 8), (1, 6, 4)),
    "3 x 5, wrong shape": lambda: conv((1, 1, 3, 5), (1, 8, 8), (1, 6, 6)),
    "same and stride 2, true shape": lambda: conv((1, 1, 3, 3), (1, 8, 8), (1, 4, 4), stride=2, padding="same"),
    "same and stride 2, wrong shape": lambda: conv((1, 1, 3, 3), (1, 8, 8), (1, 8, 8), stride=2, padding="same"),
    "bias of 7 for 1 channel": lambda: conv((1, 1, 3, 3), (1, 8, 8), (1, 6, 6), bias=7),
    "name with a slash, written and read": slash,
    "outputs of a graph with a loose head": head,
}
seen = {}
for name, make in cases.items():
    try:
        made = make()
        seen[name] = made if isinstance(made, list) else "accepted"
        print(f"{name}: {seen[name]}")
    except (ValueError, KeyError) as error:
        seen[name] = "refused"
        print(f"{name}: {type(error).__name__}: {error}")
wanted = {name: "refused" for name in cases}
wanted |= {name: "accepted" for name in cases if "wrong" in name or "bias" in name}
wanted["outputs of a graph with a loose head"] = ["output", "output_aux"]
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
