"""The plain description of a Lava run: Lava's processes and connections, as data in one folder.

A program says, one to one, which Lava processes exist, with which parameters, and how their ports
are connected. It is what the worker (`purespike.targets.lava.worker`) builds and runs, and it can
be read without Lava: `program.json` beside `arrays.npz`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.choices import Convolution

Shape: TypeAlias = tuple[int, ...]
Reshape: TypeAlias = Literal["", "flatten"] | Shape
Array: TypeAlias = NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class Source:
    """Spikes that enter the network: frame t is sent at time step t (counted from 0).

    Attributes:
        name: Name of the process.
        shape: Shape of one frame, in Lava's layout (W, H, C) or flat (N,).
        spikes: uint8 array (frames, *shape) of zeros and ones, at most `steps` frames, silence
            afterwards; None when they stand in the file `<name>.npy` of the program's folder.
    """

    name: str
    shape: Shape
    spikes: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Conv:
    """Stock `lava.proc.conv.process.Conv`: a true (flipped) convolution; one step of latency.

    Attributes:
        name: Name of the process.
        weight: Integers that 8 bits hold, in Lava's layout (C_out, k_x, k_y, C_in/groups).
        input_shape: (W, H, C_in).
        stride, padding, dilation: For (x, y).
        groups: Number of groups.
    """

    name: str
    weight: Array
    input_shape: Shape
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


@dataclass(frozen=True, eq=False)
class Dense:
    """Stock `lava.proc.dense.process.Dense`, flat to flat; one step of latency.

    The worker hands Lava mantissas and an exponent, which are exact for weights that 8 bits hold:
    see `purespike.targets.lava.worker.packing`.

    Attributes:
        name: Name of the process.
        weight: Integers that 8 bits hold, (outputs, inputs).
    """

    name: str
    weight: Array


@dataclass(frozen=True, eq=False)
class Sparse:
    """Stock `Sparse` (delay 0) or `DelaySparse`, flat to flat; 1 + delay steps of latency.

    Without `rows` and `columns` it connects one to one: output i gets weight[i] * input i.

    Attributes:
        name: Name of the process.
        weight: 1-D integers that 8 bits hold, one per synapse.
        delay: Additional time steps 0..62, one number or one for each synapse.
        rows, columns: Output and input index of each synapse, or None for one to one.
        size: (outputs, inputs); required with `rows` and `columns`.
    """

    name: str
    weight: Array
    delay: int | Array = 0
    rows: Array | None = None
    columns: Array | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Lif:
    """Stock `LIF` (reset_interval 0) or `LIFReset`; fires on strict v > vth * 64, resets to 0.

    Attributes:
        name: Name of the process.
        shape: Shape of the layer.
        vth: Threshold 0..131071 in weight units, a number or an array of `shape`.
        du: Decay of the current; 4095 means that no current is kept.
        dv: Decay of the membrane potential, 0 (none) .. 4095.
        bias: Bias mantissa -4096..4095, a number or an array of `shape`.
        bias_exp: The bias is bias * 2**bias_exp; 6 gives it weight units.
        reset_interval: Steps between resets, 0 for none.
        reset_offset: Resets before integrating in the steps t (from 1) with
            t % reset_interval == reset_offset % reset_interval.
    """

    name: str
    shape: Shape
    vth: int | Array
    du: int = 4095
    dv: int = 0
    bias: int | Array = 0
    bias_exp: int = 6
    reset_interval: int = 0
    reset_offset: int = 0


@dataclass(frozen=True, eq=False)
class SoftIf:
    """Custom process: like `Lif`, but subtracts `amount` where it fires.

    Stock Lava has no spiking neuron with a reset by subtraction.

    Attributes:
        name: Name of the process.
        shape: Shape of the layer.
        vth: Threshold 0..131071 in weight units, a number or an array of `shape`.
        amount: What a spike subtracts, 0..131071 in weight units, a number or an array. With 0 the
            neuron is never reset, which no neuron of stock Lava is, either.
        bias: Added each step, -4096..4095 in weight units, a number or an array.
        dv: Decay of the membrane potential, 0 (none) .. 4095.
        reset_interval, reset_offset, du: As in `Lif`.
    """

    name: str
    shape: Shape
    vth: int | Array
    amount: int | Array
    bias: int | Array = 0
    dv: int = 0
    reset_interval: int = 0
    reset_offset: int = 0
    du: int = 4095


Process: TypeAlias = Source | Conv | Dense | Sparse | Lif | SoftIf
KINDS: dict[str, type[Process]] = {
    "source": Source,
    "conv": Conv,
    "dense": Dense,
    "sparse": Sparse,
    "lif": Lif,
    "soft_if": SoftIf,
}


@dataclass(frozen=True)
class Connection:
    """From the output port of one process to the input port of another.

    Several connections into one neuron are summed.

    Attributes:
        source: Name of the sending process.
        destination: Name of the receiving process.
        reshape: "" for as it is, "flatten", or a shape; in C order.
    """

    source: str
    destination: str
    reshape: Reshape = ""


@dataclass(frozen=True, eq=False)
class Program:
    """One Lava run.

    Attributes:
        processes: In any order, names unique.
        connections: See `Connection`.
        steps: Time steps to run.
        record: Sources and neurons whose spikes are recorded at each step.
        record_v: Neurons whose membrane potential is recorded, after firing and reset, in 1/64 of
            a weight unit. A recorded step takes up to twice as long, because Lava then leads all
            processes through one more phase: meant for a small readout layer.
        conv: "stock" runs Lava's own models of all stock processes; "fast" replaces those of
            `Conv` and `DelaySparse` by equal ones, many times faster.
        record_v_interval, record_v_offset: Membranes are recorded in the steps t (from 1) with
            t % record_v_interval == record_v_offset % record_v_interval; all, by default.
    """

    processes: tuple[Process, ...]
    connections: tuple[Connection, ...]
    steps: int
    record: tuple[str, ...]
    record_v: tuple[str, ...] = ()
    conv: Convolution = "fast"
    record_v_interval: int = 1
    record_v_offset: int = 0


def process_named(program: Program, name: str) -> Process:
    """The process of that name; KeyError if there is none."""
    for process in program.processes:
        if process.name == name:
            return process
    raise KeyError(name)


def _conv_output(conv: Conv) -> Shape:
    sides = zip(
        conv.input_shape[:2],
        conv.weight.shape[1:3],
        conv.stride,
        conv.padding,
        conv.dilation,
        strict=True,
    )
    width, height = ((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sides)
    return (width, height, conv.weight.shape[0])


def _sparse_size(sparse: Sparse) -> tuple[int, int]:
    return sparse.size if sparse.size is not None else (sparse.weight.size, sparse.weight.size)


_OUTPUT: dict[type, Callable[..., Shape]] = {
    Source: lambda p: p.shape,
    Conv: _conv_output,
    Dense: lambda p: (p.weight.shape[0],),
    Sparse: lambda p: (_sparse_size(p)[0],),
    Lif: lambda p: p.shape,
    SoftIf: lambda p: p.shape,
}
_INPUT: dict[type, Callable[..., Shape]] = {
    Source: lambda p: (),
    Conv: lambda p: p.input_shape,
    Dense: lambda p: (p.weight.shape[1],),
    Sparse: lambda p: (_sparse_size(p)[1],),
    Lif: lambda p: p.shape,
    SoftIf: lambda p: p.shape,
}


def output_shape(process: Process) -> Shape:
    """Shape of what the process sends each step."""
    return tuple(int(n) for n in _OUTPUT[type(process)](process))


def input_shape(process: Process) -> Shape:
    """Shape of what the process receives each step; () for a source."""
    return tuple(int(n) for n in _INPUT[type(process)](process))


def membrane_steps(program: Program) -> list[int]:
    """The time steps, counted from 1, in which membrane potentials are recorded."""
    interval, offset = program.record_v_interval, program.record_v_offset
    return [t for t in range(1, program.steps + 1) if (t - offset) % interval == 0]


def is_neuron(process: Process) -> bool:
    """Whether the process has a membrane potential."""
    return isinstance(process, Lif | SoftIf)
