"""Faults put into purespike on purpose: the published list. Each must be noticed.

A mutant exchanges one function for a wrong one (`planted`). `docs/proofs.md` lists them with the
comparison that notices each, and after how many networks.
"""

from __future__ import annotations

from collections.abc import Iterator

from helpers.planted.interpreter import NEURON, OPS, neuron
from helpers.planted.passes import PASSES
from helpers.planted.planting import Mutant as Mutant
from helpers.planted.targets import EMITTERS

WRITTEN = {"targets/onnx": "ONNX Runtime", "targets/nir": "NIR", "targets/cpu": "cpu",
           "targets/c": "C", "targets/lava": "Lava's terms", "targets/qonnx": "QONNX",
           "targets/golden_network": "replay", "targets/replay": "replay"}  # fmt: skip


def _all() -> Iterator[Mutant]:
    for name, wrong in NEURON.items():
        yield Mutant(name, "Neuron", "executors", neuron(**wrong))
    for name, (where, patch) in OPS.items():
        yield Mutant(name, where, "executors", patch)
    for name, (where, patch) in PASSES.items():
        yield Mutant(name, where, "passes", patch)
    for name, (where, patch) in EMITTERS.items():
        yield Mutant(name, where, WRITTEN[where], patch)


MUTANTS = {m.name: m for m in _all()}
# Those that show on a network of a few nodes, and to an executor of `differential`.
SMALL = (*NEURON, *OPS, *list(PASSES)[:14], *list(EMITTERS)[:5])
