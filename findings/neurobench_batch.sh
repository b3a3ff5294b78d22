#!/usr/bin/env bash
# neurobench_batch.sh: how many operations NeuroBench calls multiplications depends on the batch size.
#
# Versions:  neurobench 2.3.0, torch 2.13.0
# Behaviour: a layer's operations count as accumulations if the batch at hand holds only -1, 0 and 1, and else all
#            of them as multiply-accumulates. For a layer behind an additive residual join (values 0, 1, 2),
#            the same 64 samples give 0.8 MAC per sample one at a time, and 18.6 MAC and no AC at once.
# Expected:  a split that follows from the network, or at least from each sample; the sum is right.
# Why it matters: the AC/MAC split is what energy figures are made of, and a network with integer sums
#            passes for spiking wherever no 2 happened to occur.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 neurobench==2.3.0
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from neurobench.metrics.workload import SynapticOperations
from neurobench.models import TorchModel


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(16, 10, bias=False)

    def forward(self, x):
        return self.fc(x)


torch.manual_seed(0)
x = (torch.rand(64, 16) < 0.1).float() + (torch.rand(64, 16) < 0.02).float()  # 0, 1 and a few 2
seen = {}
for size in (1, 8, 64):
    model, metric = TorchModel(Layer()), SynapticOperations()
    model.register_hooks()
    for start in range(0, len(x), size):
        batch = x[start : start + size]
        model.reset_hooks()
        result = metric(model, model(batch), (batch, None))
    model.cleanup_hooks()
    seen[size] = result["Effective_MACs"], result["Effective_ACs"]
    print(f"batches of {size:2d}: {seen[size][0]:7.3f} MAC and {seen[size][1]:7.3f} AC per sample")
wanted = {1: (0.78125, 17.8125), 8: (6.5625, 12.03125), 64: (18.59375, 0.0)}
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
