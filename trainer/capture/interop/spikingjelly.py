"""SpikingJelly's modules in the graph, as its version 2.0 computes them.

Its neurons fire on ``v >= v_threshold`` and reset in the same step, as those of the graph do. A
membrane that rests at ``v_reset`` is counted from there, so that it rests at 0.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, cast

import numpy as np
from torch import nn

from purespike.compiler.ir import ops
from purespike.compiler.ir.ops.levels import thresholds_of_rounding
from purespike.trainer.capture.conversions import CONVERSIONS, Converted, require
from purespike.trainer.capture.interop.firing import fires

NEURON: Final = "spikingjelly.activation_based.neuron"
LAYER: Final = "spikingjelly.activation_based.layer"
_SEW = "spikingjelly.activation_based.model.sew_resnet"


def _neuron(m: Any, path: str, decay: float, scale: float) -> Converted:
    rest = 0.0 if m.v_reset is None else float(m.v_reset)
    start = m._memories_rv["v"]
    threshold = float(m.v_threshold) - rest
    require(isinstance(start, int | float), path, m, "a membrane that starts at one number")
    require(np.isfinite(threshold) and threshold > 0, path, m, "v_threshold above v_reset")
    require(fires(m.surrogate_function, at_zero=True), path, m, "a surrogate that fires from 0 on")
    require(getattr(m, "_neuron_precision", None) is None, path, m, "no precision of its own")
    op = ops.Neuron(
        np.asarray(threshold),
        decay,
        "subtract" if m.v_reset is None else "zero",
        np.asarray(threshold),
        float(start) - rest,
    )
    return [*([] if scale == 1.0 else [(".input", ops.Scale(np.asarray(scale)))]), ("", op)]


def _if(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    return _neuron(m, path, 1.0, 1.0)


def _lif(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    tau = float(m.tau)
    require(np.isfinite(tau) and tau >= 1, path, m, "tau of 1 time step and more")
    return _neuron(m, path, 1.0 - 1.0 / tau, 1.0 / tau if m.decay_input else 1.0)


def _plif(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    require(m.w.numel() == 1, path, m, "one time constant for the layer")
    scale = float(m.w.detach().double().sigmoid())
    return _neuron(m, path, 1.0 - scale, scale if m.decay_input else 1.0)


def _integrator(m: Any, path: str, decay: float, scale: float) -> Converted:
    """A neuron that never fires: its membrane, at the last step or as a mean over all."""
    require(m.decode in ("last_mem", "mean-mem"), path, m, "decode='last_mem' or 'mean-mem'")
    op = ops.Neuron(np.asarray(np.inf), decay, "none")
    mean: Converted = [(".mean", ops.TimeMean(0))] if m.decode == "mean-mem" else []
    return [*([] if scale == 1.0 else [(".input", ops.Scale(np.asarray(scale)))]), ("", op), *mean]


def _silent_if(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    return _over(_integrator(m, path, 1.0, 1.0), steps)


def _silent_lif(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    tau = float(m.tau)
    require(np.isfinite(tau) and tau >= 1, path, m, "tau of 1 time step and more")
    return _over(_integrator(m, path, 1.0 - 1.0 / tau, 1.0 / tau), steps)


def _over(converted: Converted, steps: int) -> Converted:
    return [(n, ops.TimeMean(steps) if isinstance(op, ops.TimeMean) else op) for n, op in converted]


def _at_rest(m: Any, path: str) -> None:
    require(m._memories_rv["v"] in (0, 0.0), path, m, "a membrane that starts at 0")
    require(getattr(m, "_neuron_precision", None) is None, path, m, "no precision of its own")


def _ilif(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    """``round(clamp(v / v_threshold, 0, D))`` spikes per step, each taking v_threshold off."""
    tau, v = float(m.tau), float(m.v_threshold)
    require(np.isfinite(tau) and tau >= 1, path, m, "tau of 1 time step and more")
    require(np.isfinite(v) and v > 0, path, m, "v_threshold above 0")
    _at_rest(m, path)
    most = int(m.surrogate_function.max_spike_count)
    return [("", ops.Levels(thresholds_of_rounding(most, v), 1.0 - 1.0 / tau, np.asarray(v)))]


def _ternary(m: Any, path: str, decay: float, scale: float) -> Converted:
    soft = m.v_reset is None
    require(soft, path, m, "v_reset=None: a reset to a value has no form in binary spikes")
    _at_rest(m, path)
    v = np.asarray([float(m.v_threshold)])
    op = ops.Levels(v, decay, v[0], below=v)
    return [*([] if scale == 1.0 else [(".input", ops.Scale(np.asarray(scale)))]), ("", op)]


def _ternary_if(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    return _ternary(m, path, 1.0, 1.0)


def _ternary_lif(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    tau = float(m.tau)
    return _ternary(m, path, 1.0 - 1.0 / tau, 1.0 / tau if m.decay_input else 1.0)


def _slots(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    """Nothing: counts stay counts until the compiler makes spikes of them (`slotted`)."""
    return []


def _standardized(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    """Weights standardized over each output: constants, once they are trained."""
    [(name, op)] = CONVERSIONS[nn.Conv2d if m.weight.dim() == 4 else nn.Linear](
        m, shape, steps, path
    )
    weight = copy.deepcopy(m).double().get_weight().detach().cpu().numpy()
    return [(name, replace(cast(ops.Conv2d | ops.Linear, op), weight=weight))]


def _voting(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    """The mean of each class's voters, as a layer."""
    (size,), votes = shape if len(shape) == 1 else (0,), int(m.voting_size)
    require(size > 0 and size % votes == 0, path, m, "flat features, a multiple of voting_size")
    return [("", ops.Linear(np.kron(np.eye(size // votes), np.full((1, votes), 1 / votes))))]


def _flatten(m: Any, shape: tuple[int, ...], steps: int, path: str) -> Converted:
    whole = m.start_dim == 1 and m.end_dim in (-1, len(shape))
    require(whole, path, m, "start_dim 1, which is everything after the batch")
    return [("", ops.Flatten())]


NEURONS: dict[str, Callable[..., Converted]] = {
    "IFNode": _if,
    "HalfThresholdIFNode": _if,
    "LIFNode": _lif,
    "ParametricLIFNode": _plif,
    "ILIFNode": _ilif,
    "TernaryIFNode": _ternary_if,
    "TernaryLIFNode": _ternary_lif,
    "OTTTLIFNode": _lif,  # these two differ from LIFNode in how they train
    "SLTTLIFNode": _lif,
    "NonSpikingIFNode": _silent_if,
    "NonSpikingLIFNode": _silent_lif,
}
STEPWISE = ("OTTTLIFNode", "SLTTLIFNode")  # which take no sequence
_PLAIN = (
    nn.Conv1d,
    nn.ConvTranspose2d,
    nn.Upsample,
    nn.BatchNorm1d,
    nn.AvgPool1d,
    nn.MaxPool1d,
    nn.AdaptiveAvgPool1d,
)
SLOTS = ("SpikeCountToBinary", "TemporalBinSum")  # counts in time, and back
LAYERS: dict[str, Callable[..., Converted]] = {
    **dict.fromkeys(SLOTS, _slots),
    **{t.__name__: CONVERSIONS[t] for t in _PLAIN},
    "Conv2d": CONVERSIONS[nn.Conv2d],
    "Linear": CONVERSIONS[nn.Linear],
    "BatchNorm2d": CONVERSIONS[nn.BatchNorm2d],
    "ThresholdDependentBatchNorm1d": CONVERSIONS[nn.BatchNorm1d],
    "ThresholdDependentBatchNorm2d": CONVERSIONS[nn.BatchNorm2d],  # its scale is its weight
    "WSConv2d": _standardized,
    "WSLinear": _standardized,
    "MaxPool2d": CONVERSIONS[nn.MaxPool2d],
    "AvgPool2d": CONVERSIONS[nn.AvgPool2d],
    "AdaptiveAvgPool2d": CONVERSIONS[nn.AdaptiveAvgPool2d],
    "Flatten": _flatten,
    "VotingLayer": _voting,
    "Dropout": CONVERSIONS[nn.Dropout],
    "Dropout2d": CONVERSIONS[nn.Dropout],
}
# Containers, and whether their modules see one step after the other; else all steps at once, as
# more samples, so that a neuron in there would remember nothing.
CONTAINERS: dict[str, Callable[[Any], bool]] = {
    "MultiStepContainer": lambda m: True,
    "SeqToANNContainer": lambda m: False,
    "StepModeContainer": lambda m: bool(m.stateful),
}
JOINS = {"ADD": ops.Add(), "AND": ops.Gate("and"), "IAND": ops.Gate("iand")}


def sew_function() -> Callable[..., Any] | None:
    """SEW's join ``(x, y, kind)`` of spikes, if its ResNets are in use; IAND is ``x (1 - y)``."""
    return getattr(sys.modules.get(_SEW), "sew_function", None)


def is_sew_function(target: Any) -> bool:
    """Is it that function? While a forward is traced, its module holds another in its place."""
    name = (getattr(target, "__module__", ""), getattr(target, "__qualname__", ""))
    return name == (_SEW, "sew_function")
