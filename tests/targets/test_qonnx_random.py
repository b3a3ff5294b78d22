"""Random QONNX networks: every level equal to qonnx's own executor, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.qonnx_cases import carried, executed, random_network, same_order

from purespike.targets.onnx.quantized.read import understood


@pytest.mark.parametrize("seed", range(24))
def test_levels_and_order_of_outputs_are_the_executors(seed: int) -> None:
    model, x = random_network(seed)
    graph, tensors = understood(model)
    ours = carried(graph, tensors, x)
    theirs = [executed(model, sample[None]) for sample in x]
    compared = 0
    for name in set(ours) & set(theirs[0]):
        reference = np.concatenate([t[name] for t in theirs])
        assert np.array_equal(ours[name], reference), name
        compared += reference.size
    assert compared
    output = np.concatenate([t[model.graph.output[0].name] for t in theirs])
    assert same_order(ours["readout"], output)
