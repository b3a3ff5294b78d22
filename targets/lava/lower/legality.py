"""PS008 for what Lava's registers hold: does every process compute with the numbers it was given?

Lava checks no range and says nothing when it clips. `Dense` and `Sparse` clip a weight to 8 bits
for its sign mode and cut the lowest bit of mixed signs; `Conv` ignores exponents and takes any
number. So the mantissas and exponents that the worker hands over are decoded here as Lava decodes
them, and have to give the network's own weights.

Source: lava-nc 0.10.0, `lava/utils/weightutils.py`, `proc/dense/models.py`, `proc/lif/models.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.rules.finding import LEGALITY, Finding, verdict
from purespike.compiler.wording import QUANTIZE
from purespike.targets.lava.lower.emit import emit
from purespike.targets.lava.lower.layout import EmitError
from purespike.targets.lava.lower.schedule import ScheduleError, schedule
from purespike.targets.lava.program.check import ProgramError, check
from purespike.targets.lava.program.program import Conv, Dense, Lif, SoftIf, Sparse
from purespike.targets.lava.worker.packing import packed
from purespike.targets.spec import LOIHI2

_VTH = (0, 131071)
_BIAS = 4095
_BIAS_EXP = (0, 7)
_REMEDY = QUANTIZE


def registers(graph: Graph) -> Iterator[Finding]:
    """One finding for each synapse and neuron of Lava's, or one that says why there are none."""
    silence = np.zeros((graph.steps, 1, *graph.inputs[0].shape), np.uint8)
    try:
        program = emit(graph, schedule(graph), silence)
        check(program)
    except (EmitError, ProgramError, ScheduleError) as error:
        yield _refused(error)
        return
    for process in program.processes:
        if isinstance(process, Dense | Sparse):
            yield scaled(process)
        elif isinstance(process, Conv):
            yield _plain(process)
        elif isinstance(process, Lif | SoftIf):
            yield _neuron(process)


def sign_mode(mantissas: NDArray[np.signedinteger[Any]]) -> str:
    """Lava's: excitatory without negative numbers, inhibitory without positive ones, or mixed."""
    if mantissas.min() >= 0:
        return "excitatory"
    return "inhibitory" if mantissas.max() <= 0 else "mixed"


def held(
    mantissas: NDArray[np.signedinteger[Any]], mode: str = ""
) -> NDArray[np.signedinteger[Any]]:
    """The mantissas that 8-bit synapses of their sign mode hold: clipped, the last bit cut.

    Args:
        mantissas: Of a layer, or a part of them.
        mode: The sign mode of the layer; empty is that of ``mantissas``.
    """
    mode = mode or sign_mode(mantissas)
    low = 0 if mode == "excitatory" else -255 if mode == "inhibitory" else -256
    high = 0 if mode == "inhibitory" else 255
    clipped = np.clip(mantissas, low, high)
    return (clipped >> 1) << 1 if mode == "mixed" else clipped


def scaled(process: Dense | Sparse) -> Finding:
    """A synapse that gets mantissas and an exponent."""
    mantissas, exponent = packed(process.weight)
    # Lava shifts the sum, not each weight: only mantissas that are held unchanged sum exactly.
    parts = np.array_split(mantissas.reshape(-1), max(1, mantissas.size >> 16))
    mode = sign_mode(mantissas)
    wrong = sum(int((held(part, mode) != part).sum()) for part in parts)
    return verdict(
        LEGALITY,
        f"Lava {process.name}",
        not wrong,
        f"{mode} weights, mantissas {mantissas.min()} to {mantissas.max()}, "
        f"exponent {exponent}: {wrong} of {mantissas.size} not held",
        limit="even mantissas -256 to 254 for mixed signs, else 0 to 255 or -255 to 0",
        remedy=_REMEDY,
    )


def _plain(process: Conv) -> Finding:
    low, high = int(process.weight.min()), int(process.weight.max())
    return verdict(
        LEGALITY,
        f"Lava {process.name}",
        LOIHI2.holds(process.weight),
        f"weights {low} to {high}, no exponent",
        limit=f"{LOIHI2.weights}: Lava's Conv itself checks nothing",
        remedy=_REMEDY,
    )


def _neuron(process: Lif | SoftIf) -> Finding:
    vth, bias = np.asarray(process.vth), np.asarray(process.bias)
    exponent = process.bias_exp if isinstance(process, Lif) else 6
    holds = (
        _VTH[0] <= vth.min()
        and vth.max() <= _VTH[1]
        and np.abs(bias).max() <= _BIAS
        and _BIAS_EXP[0] <= exponent <= _BIAS_EXP[1]
    )
    return verdict(
        LEGALITY,
        f"Lava {process.name}",
        bool(holds),
        f"vth {vth.min()} to {vth.max()}, bias mantissa {bias.min()} to {bias.max()}, "
        f"bias exponent {exponent}",
        limit=f"vth {_VTH[0]} to {_VTH[1]}, bias +-{_BIAS}, exponent {_BIAS_EXP[0]} to "
        f"{_BIAS_EXP[1]}",
        remedy=_REMEDY,
    )


def _refused(error: PurespikeError) -> Finding:
    return Finding(
        LEGALITY,
        f"Lava {error.where}".strip(),
        "FAIL",
        f"{error.message}: {error.found}".rstrip(": "),
        error.allowed,
        remedy=error.remedy,
    )
