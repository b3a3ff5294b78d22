"""Step-by-step numpy simulation of a Lava program, written independently of Lava and the worker.

Every synapse delivers one step (plus its delay) late; neurons see all inputs of the same step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from purespike.targets.lava.program.program import (
    Conv,
    Dense,
    Lif,
    Process,
    Program,
    SoftIf,
    Source,
    Sparse,
    output_shape,
)

Frames = np.ndarray[Any, np.dtype[np.int64]]
V_MAX = 2**23 - 1


def convolve(conv: Conv, frame: Frames) -> Frames:
    """The definition of a padded, strided, dilated, grouped, flipped convolution, as loops."""
    width, height, outputs = output_shape(conv)
    (kx, ky), inputs = conv.weight.shape[1:3], conv.weight.shape[3]
    px, py = conv.padding
    padded = np.pad(frame, ((px, px), (py, py), (0, 0)))
    flipped = conv.weight[:, ::-1, ::-1].astype(int)
    out = np.zeros((width, height, outputs), np.int64)
    for o in range(outputs):
        first = o // (outputs // conv.groups) * inputs
        for x in range(width):
            for y in range(height):
                for i in range(kx):
                    for j in range(ky):
                        at = padded[
                            x * conv.stride[0] + i * conv.dilation[0],
                            y * conv.stride[1] + j * conv.dilation[1],
                            first : first + inputs,
                        ]
                        out[x, y, o] += at @ flipped[o, i, j]
    return out


def synapse(process: Process, spikes: Frames) -> Frames:
    """What a synapse makes of one frame of spikes, without its latency."""
    if isinstance(process, Conv):
        return convolve(process, spikes)
    if isinstance(process, Dense):
        return process.weight.astype(np.int64) @ spikes
    assert isinstance(process, Sparse)  # the only kind left
    out = np.zeros(output_shape(process), np.int64)
    rows = process.rows if process.rows is not None else np.arange(process.weight.size)
    columns = process.columns if process.columns is not None else np.arange(process.weight.size)
    np.add.at(out, rows, process.weight.astype(np.int64) * spikes[columns])
    return out


def decayed(value: Frames, decay: int) -> Frames:
    """value * (4096 - decay) / 4096, rounded towards zero."""
    return np.fix(value * (4096 - decay) / 4096).astype(np.int64)


class Neuron:
    """State of one neuron layer."""

    def __init__(self, process: Lif | SoftIf) -> None:
        self.process = process
        self.u = np.zeros(process.shape, np.int64)
        self.v = np.zeros(process.shape, np.int64)

    def step(self, activation: Frames, t: int) -> Frames:
        """Spikes of time step t, counted from 1."""
        p = self.process
        if p.reset_interval and t % p.reset_interval == p.reset_offset % p.reset_interval:
            self.u[:] = self.v[:] = 0
        vth = np.asarray(p.vth, np.int64) * 64
        bias = np.asarray(p.bias, np.int64)
        self.u = decayed(self.u, p.du + 1) + activation * 64
        if isinstance(p, Lif):
            self.u = np.where(self.u > 2**23, self.u - 2**24, self.u)
            self.u = np.where(self.u <= -(2**23), self.u + 2**24, self.u)
        exponent = p.bias_exp if isinstance(p, Lif) else 6
        self.v = decayed(self.v, p.dv) + self.u + bias * 2**exponent
        self.v = np.clip(self.v, -V_MAX, V_MAX)
        spikes = self.v > vth
        if isinstance(p, Lif):
            self.v = np.where(spikes, 0, self.v)
        else:
            self.v = np.where(spikes, self.v - np.asarray(p.amount, np.int64) * 64, self.v)
        return spikes.astype(np.int64)


def simulate(program: Program) -> tuple[dict[str, Frames], dict[str, Frames]]:
    """Spikes of all sources and neurons, and membranes of all neurons, at every step."""
    processes = {p.name: p for p in program.processes}
    inputs: dict[str, list[Any]] = {name: [] for name in processes}
    for connection in program.connections:
        inputs[connection.destination].append(connection)
    neurons = {n: Neuron(p) for n, p in processes.items() if isinstance(p, Lif | SoftIf)}
    spikes: dict[str, list[Frames]] = {
        n: [] for n, p in processes.items() if isinstance(p, Source) or n in neurons
    }
    membranes: dict[str, list[Frames]] = {n: [] for n in neurons}

    def shaped(connection: Any, value: Frames) -> Frames:
        if connection.reshape == "":
            return value
        return value.reshape(-1 if connection.reshape == "flatten" else connection.reshape)

    def sent(name: str, t: int) -> Frames:
        """What a process sends in step t (from 1); computed when asked for."""
        process = processes[name]
        if name in spikes:
            if len(spikes[name]) < t:
                step(name, t)
            return spikes[name][t - 1]
        if isinstance(process, Sparse) and np.ndim(process.delay):  # each synapse its own
            parts = (
                replace(process, weight=process.weight * (process.delay == d), delay=int(d))
                for d in np.unique(process.delay)
            )
            return sum(
                (delivered(name, part, t) for part in parts),
                start=np.zeros(output_shape(process), np.int64),
            )
        return delivered(name, process, t)

    def delivered(name: str, process: Any, t: int) -> Frames:
        seen = t - 1 - (process.delay if isinstance(process, Sparse) else 0)
        if seen < 1:
            return np.zeros(output_shape(process), np.int64)
        (connection,) = inputs[name]
        return synapse(process, shaped(connection, sent(connection.source, seen)))

    def step(name: str, t: int) -> None:
        process = processes[name]
        if isinstance(process, Source):
            assert process.spikes is not None
            frames = process.spikes.astype(np.int64)
            spikes[name].append(frames[t - 1] if t <= len(frames) else np.zeros_like(frames[0]))
            return
        total = np.zeros(output_shape(process), np.int64)
        for connection in inputs[name]:
            total = total + shaped(connection, sent(connection.source, t))
        spikes[name].append(neurons[name].step(total, t))
        membranes[name].append(neurons[name].v.copy())

    for t in range(1, program.steps + 1):
        for name in spikes:
            sent(name, t)
    return (
        {n: np.stack(frames) for n, frames in spikes.items()},
        {n: np.stack(frames) for n, frames in membranes.items()},
    )
