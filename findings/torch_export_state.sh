#!/usr/bin/env bash
# torch_export_state.sh: whether torch.export keeps a membrane depends on how it is written down.
#
# Versions:  torch 2.13.0
# Behaviour: the same update of a buffer, v <- v / 2 + x. In place (mul_, add_) it is recorded as a change of
#            state. Assigned (self.v = ...) it is recorded with strict=False and frozen with strict=True.
#            Kept in a plain attribute instead of a buffer it is frozen in both. No error; for the plain
#            attribute a warning at most.
# Expected:  the same program from the same update, or a refusal.
# Why it matters: spiking neurons are made of such updates. A frozen one answers as in its first step for ever.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import torch


class Membrane(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind
        if kind == "attribute":
            self.v = torch.zeros(1)
        else:
            self.register_buffer("v", torch.zeros(1))

    def forward(self, x):
        if self.kind == "in place":
            self.v.mul_(0.5).add_(x)
        else:
            self.v = self.v * 0.5 + x
        return self.v + 0


one, seen = torch.ones(1), {}
for kind in ("in place", "assigned", "attribute"):
    for strict in (True, False):
        program = torch.export.export(Membrane(kind), (one,), strict=strict).module()
        seen[kind, strict] = [float(program(one)) for _ in range(3)]
        print(f"{kind:10s} strict={strict!s:6s}", *seen[kind, strict])
alive, frozen = [1.0, 1.5, 1.75], [1.0, 1.0, 1.0]
wanted = {(kind, strict): alive for kind in ("in place", "assigned") for strict in (True, False)}
wanted |= {("assigned", True): frozen, ("attribute", True): frozen, ("attribute", False): frozen}
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
