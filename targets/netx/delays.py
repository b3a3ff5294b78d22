"""The delays of a netx dense layer, as Lava runs them, on spikes.

netx gives each synapse of a dense layer a delay (`DelayDense`, `DelaySparse`): 0 to 62 whole steps,
more are cut. Of a vector as long as the layer it makes rows: all that neuron i receives comes
``delay[i]`` steps late. A neuron without bias that starts at rest does the same so much later, so
its spikes can wait instead. A vector as long as the input makes columns: the spikes wait in front.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Op
from purespike.compiler.ir.ops import Add, Delay, Linear
from purespike.targets.netx.document import Fields
from purespike.targets.netx.errors import NetxFileError

LONGEST = 62
Steps = NDArray[np.int64]
Parts = list[tuple[str, Op, tuple[str, ...]]]


def read_delay(layer: Fields, kind: str, synapse: Op, where: str) -> tuple[Steps, Steps]:
    """(steps that each input waits, steps that each output waits) of a layer.

    Raises:
        NetxFileError: If the layer is not a dense one, each synapse has a delay of its own, or
            neurons with a bias receive late.
    """
    if kind != "dense" or not isinstance(synapse, Linear):
        _refuse(where, "netx does not run the delay of this layer", kind, "dense")
    outputs, inputs = synapse.shape
    before, behind = np.zeros(inputs, np.int64), np.zeros(outputs, np.int64)
    value = layer["delay"]
    if isinstance(value, str) or value.size == 0 or value.min() < 0:
        _refuse(where, "delays are steps", str(value)[:40], f"0 to {LONGEST}")
    steps = np.clip(value, 0, LONGEST).astype(np.int64)
    if steps.ndim == 0:
        before += steps
    elif steps.shape == (outputs,):  # also where it is as long as the input: netx asks so first
        behind = steps
    elif steps.shape == (inputs,):
        before = steps
    else:
        _refuse(where, "each synapse has a delay of its own", f"{steps.shape}", "one per neuron")
    if behind.any() and synapse.bias is not None and bool(synapse.bias.any()):
        _refuse(
            where,
            "neurons with a bias receive late: the bias does not wait",
            f"delays of {behind.min()} to {behind.max()} steps and a bias",
            "one of the two",
        )
    return before, behind


def delayed(synapse: Linear, waits: Steps, source: str, name: str) -> Parts:
    """A linear layer whose inputs wait: (name, operation, what it reads), the last one its current.

    A delay in the graph lasts a step at least. Where only some inputs wait, the layer is two: one
    for those that do not and one for those that do, and each has zeros where the other has weights.
    """
    if not waits.any():
        return [(name, synapse, (source,))]
    late = np.maximum(waits, 1).astype(np.float64)
    wait: tuple[str, Op, tuple[str, ...]] = (f"{name}.late", Delay(late), (source,))
    if waits.all():
        return [wait, (name, synapse, (f"{name}.late",))]
    weight: Any = synapse.weight
    return [
        wait,
        (f"{name}.now", Linear(weight * (waits == 0), synapse.bias), (source,)),
        (f"{name}.then", Linear(weight * (waits > 0)), (f"{name}.late",)),
        (name, Add(), (f"{name}.now", f"{name}.then")),
    ]


def _refuse(where: str, message: str, found: str, allowed: str) -> NoReturn:
    raise NetxFileError(
        message,
        where=where,
        found=found,
        allowed=allowed,
        remedy="train the network without such delays",
    )
