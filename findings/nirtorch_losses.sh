#!/usr/bin/env bash
# nirtorch_losses.sh: what nirtorch loses on the way from a NIR file to torch, and back.
#
# Versions:  torch 2.13.0, nir 1.0.8, nirtorch 2.6
# Behaviour: nir_to_torch leaves the bias of an Affine at torch's random start value; two edges that meet at
#            the Output come back as two tensors instead of their sum. torch_to_nir writes h + h as h, and
#            h + 1.0 as h. No error, no warning.
# Expected:  the bias of the file, the sum (as everywhere else in the graph), and a refusal of what NIR
#            cannot say.
# Why it matters: nirtorch is what most frameworks read and write NIR through. Whoever uses its own map of
#            layers gets a network whose outputs differ from run to run.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 nir==1.0.8 nirtorch==2.6
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import nir
import nirtorch
import numpy as np
import torch


def graph(nodes, edges):
    ends = {"input": nir.Input({"input": np.array([1])}), "output": nir.Output({"output": np.array([1])})}
    return nir.NIRGraph(nodes={**nodes, **ends}, edges=edges)


def linear(weight):
    return nir.Linear(np.full((1, 1), weight, "float32"))


affine = graph(
    {"a": nir.Affine(np.ones((1, 1), "float32"), np.full(1, 100, "float32"))},
    [("input", "a"), ("a", "output")],
)
value = float(nirtorch.nir_to_torch(affine, {})(torch.ones(1, 1))[0])
print(f"1 x + 100 at x = 1: {value:.4f}")

both = graph(
    {"a": linear(1), "b": linear(10)}, [("input", "a"), ("input", "b"), ("a", "output"), ("b", "output")]
)
*outputs, _state = nirtorch.nir_to_torch(both, {})(torch.ones(1, 1))
print(f"1 x + 10 x at x = 1: {[float(y) for y in outputs]}")


class Doubled(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(1, 1, bias=False)

    def forward(self, x):
        h = self.fc(x)
        return h + h


class Shifted(Doubled):
    def forward(self, x):
        return self.fc(x) + 1.0


written = {}
for kind in (Doubled, Shifted):
    g = nirtorch.torch_to_nir(kind(), {})
    written[kind.__name__] = [type(n).__name__ for n in g.nodes.values()], len(g.edges)
    print(f"{kind.__name__}: {written[kind.__name__]}")

alone = (["Input", "Linear", "Output"], 2)
seen = abs(value - 101) > 50, sorted(float(y) for y in outputs), written
wanted = True, [1.0, 10.0], {"Doubled": alone, "Shifted": alone}
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
