"""What a NIR node of another tool is in the graph, under the stated conventions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Op, Shape
from purespike.compiler.ir.ops import AvgPool2d, Conv2d, Delay, Flatten, Linear, Neuron, Scale
from purespike.targets.nir.document import Fields
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.foreign.conventions import CUBA, Conventions
from purespike.targets.nir.foreign.soft_reset import AMOUNT
from purespike.targets.nir.shapes import WINDOWS, along, array, conv_padding

_PLAIN = 2**12  # decays in so many parts are taken for meant, however they were rounded


def operation(
    name: str, fields: Fields, takes: Shape, dt: float, stated: Conventions
) -> tuple[Op, Array | None]:
    """(op, factor of its input or None) of one NIR node, which takes an edge of shape ``takes``.

    Thresholds are those of the file; whether a neuron fires at them, the caller decides.

    What takes signals (C, L) becomes what takes images (C, 1, L): see `signals`.

    Raises:
        NirFileError: If the graph has no exact counterpart.
    """
    kind, where = str(fields["type"]), f"node {name!r}"
    if kind in ("Affine", "Linear"):
        bias = array(fields, "bias") if kind == "Affine" else None
        return Linear(array(fields, "weight"), bias), None
    if kind == "Scale":
        return Scale(_compact(array(fields, "scale"))), None
    if kind in WINDOWS:
        return _window(where, fields, takes), None
    if kind == "Flatten":
        return Flatten(), None
    if kind == "Delay":
        count = array(fields, "delay").astype(np.float64) / dt
        wrong = (np.rint(count) < 1) | (np.abs(count - np.rint(count)) > 1e-6)
        if bool(wrong.any()):
            raise NirFileError(
                "a delay is not a whole number of time steps",
                where=where,
                found=f"{count[wrong][0]:g} steps of {dt:g} s",
                allowed="1, 2, ...",
            )
        return Delay(_compact(np.rint(count))), None
    return _neuron(where, fields, dt, stated)


def _window(where: str, fields: Fields, takes: Shape) -> Op:
    axes = len(takes) - 1

    def pair(numbers: tuple[int, ...], above: int) -> tuple[int, int]:
        """Rows and columns; a signal has one row, for which ``above`` changes nothing."""
        return (above, numbers[0]) if axes == 1 else (numbers[0], numbers[1])

    stride = pair(along(where, fields, "stride", axes), 1)
    padding = pair(conv_padding(where, fields, axes), 0)
    if "weight" in fields:
        weight, bias = array(fields, "weight"), array(fields, "bias")
        return Conv2d(
            weight if axes == 2 else weight[:, :, None, :],
            bias if bool(bias.any()) else None,
            stride,
            padding,
            pair(along(where, fields, "dilation", axes), 1),
            int(array(fields, "groups")),
        )
    kernel = pair(along(where, fields, "kernel_size", axes), 1)
    if fields["type"] == "SumPool2d":
        ones = np.ones((takes[0], 1, *kernel))
        return Conv2d(ones, None, stride, padding, groups=takes[0])
    if any(padding):
        raise NirFileError(
            "NIR does not say whether padding counts in an average",
            where=where,
            found=f"padding {padding}",
            allowed="0",
            remedy="write a SumPool2d and a Scale",
        )
    return AvgPool2d(kernel, stride)


def _neuron(
    where: str, fields: Fields, dt: float, stated: Conventions
) -> tuple[Neuron, Array | None]:
    kind = fields["type"]
    if kind == "Threshold":
        return Neuron(_compact(array(fields, "threshold")), decay=0.0), None
    for zero in ("v_leak", "v_reset"):
        if zero in fields and bool(array(fields, zero).any()):
            raise NirFileError(
                f"a {zero} other than 0 has no counterpart",
                where=where,
                remedy="shift thresholds and biases so that the membrane rests at 0",
            )
    r, decay = array(fields, "r").astype(np.float64), 1.0
    rest: dict[str, Any] = {}
    if kind in CUBA:
        decay, part = _decay(where, "tau_mem", fields, dt)
        rest["current_decay"], share = _decay(where, "tau_syn", fields, dt)
        # All is linear, so the current can be held in what it adds to the membrane.
        gain = r * part * share
        if "w_in" in fields:
            gain = r * part * array(fields, "w_in").astype(np.float64) * share
    elif kind in ("LI", "LIF"):
        decay, part = _decay(where, "tau", fields, dt)
        gain = r * part
    else:
        gain = r * dt if stated.if_r == "dt" else r
    # tau and r were rounded when they were written: a few units in the last place are a 1.
    gain = _compact(np.where(np.abs(gain - 1) <= _rounded(fields), 1.0, gain))
    factor = None if gain.shape == () and gain == 1 else gain
    if kind in ("I", "LI", "CubaLI"):
        return Neuron(np.zeros(()), decay=decay, reset="none", **rest), factor
    threshold = _compact(array(fields, "v_threshold"))
    if AMOUNT in fields:
        if decay == 0:
            raise NirFileError(
                "a soft reset in plain nodes is not a neuron: it outlasts the membrane",
                where=where,
                found="tau = dt",
                allowed="a tau longer than dt",
            )
        amount = _compact(gain * array(fields, AMOUNT) / decay)
        return Neuron(threshold, decay, "subtract", amount), factor
    if stated.reset == "subtract":
        return Neuron(threshold, decay, "subtract", threshold, **rest), factor
    return Neuron(threshold, decay, "zero", **rest), factor


def _decay(where: str, name: str, fields: Fields, dt: float) -> tuple[float, float]:
    """(what a step leaves, what it takes) for the time constant ``name``."""
    tau = _uniform(where, name, array(fields, name))
    if tau < dt:
        raise NirFileError(
            "the time step is longer than the time constant",
            where=where,
            found=f"dt {dt:g} s, {name} {tau:g} s",
            allowed=f"dt <= {name}",
            remedy="check the unit of dt: NIR's time constants are in seconds",
        )
    # Rounded constants are taken for what they were meant to be: else a half in float32 is none,
    # and ties are lost.
    off, takes, whole = _rounded(fields), dt / tau, np.rint(tau / dt)
    if abs(tau / dt - whole) <= off * whole:
        takes = 1 / float(whole)
    leaves = 1 - takes
    plain = float(np.rint(leaves * _PLAIN) / _PLAIN)
    if abs(plain - leaves) <= off:
        leaves = plain
        if abs(1 - plain - takes) <= off * takes:
            takes = 1 - plain
    return leaves, takes


def _rounded(fields: Fields) -> float:
    """How far what follows from a neuron's constants may be off, by the type they are kept in."""
    kinds = [a.dtype for a in fields.values() if isinstance(a, np.ndarray)]
    return 8 * float(max([np.finfo(k).eps for k in kinds if k.kind == "f"], default=2.0**-52))


def _compact(x: NDArray[Any]) -> Array:
    """One number where all values are equal."""
    return np.array(x.flat[0], np.float64) if bool((x == x.flat[0]).all()) else x.astype(np.float64)


def _uniform(where: str, name: str, x: NDArray[Any]) -> float:
    if not bool((x == x.flat[0]).all()):
        raise NirFileError(
            f"{name} differs between the neurons of a node",
            where=where,
            found=f"{x.min():g} to {x.max():g}",
            allowed="one value a node",
            remedy="split the node",
        )
    return float(x.flat[0])
