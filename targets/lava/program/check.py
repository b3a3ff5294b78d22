"""What a program must keep before Lava may see it: Lava itself checks no range and few shapes."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np

from purespike.compiler.errors import PurespikeError
from purespike.targets.lava.program.program import (
    Conv,
    Dense,
    Lif,
    Process,
    Program,
    Reshape,
    Shape,
    SoftIf,
    Source,
    Sparse,
    input_shape,
    is_neuron,
    output_shape,
)
from purespike.targets.spec import LOIHI2

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_VTH = (0, 2**17 - 1)
_BIAS = (-(2**12), 2**12 - 1)
_DECAY = (0, 2**12 - 1)
_WEIGHT = (-256, 255)  # of 8 bits; which of them, LOIHI2.weights says by the signs of the layer
_INT8 = 127  # Lava keeps strides, paddings, dilations and groups in such variables
_FRAMES_AT_ONCE = 4096

# Ranges of the fixed-point models (widths as their docstrings state them).
_RANGES: dict[type, dict[str, tuple[int, int]]] = {
    Source: {},
    Conv: {"weight": _WEIGHT},
    Dense: {"weight": _WEIGHT},
    Sparse: {"weight": _WEIGHT, "delay": (0, 62)},
    Lif: {"vth": _VTH, "du": _DECAY, "dv": _DECAY, "bias": _BIAS, "bias_exp": (0, 7)},
    SoftIf: {"vth": _VTH, "amount": _VTH, "du": _DECAY, "dv": _DECAY, "bias": _BIAS},
}
_RANKS = {(Conv, "weight"): 4, (Dense, "weight"): 2, (Sparse, "weight"): 1}


class ProgramError(PurespikeError):
    """A Lava program that Lava cannot run as it is meant."""


def check(program: Program) -> None:
    """Raises `ProgramError` at the first thing in the program that Lava would not run as meant.

    Args:
        program: The program.

    Raises:
        ProgramError: Names, ranges, shapes or connections are not what Lava needs.
    """
    names = Counter(process.name for process in program.processes)
    for name, count in names.items():
        if count > 1 or not _NAME.fullmatch(name):
            raise ProgramError(
                f"the process name {name!r} cannot be used",
                found=f"{count} processes of that name" if count > 1 else repr(name),
                allowed="one process a name; letters, digits, '_', '.', '-'",
                remedy="rename it",
            )
    options_hold = program.conv in ("fast", "stock") and program.record_v_interval >= 1
    if program.steps < 1 or not options_hold:
        raise ProgramError(
            "the program's options are not valid",
            found=f"steps={program.steps}, record_v_interval={program.record_v_interval}, "
            f"conv={program.conv!r}",
            allowed="steps and record_v_interval from 1, conv 'fast' or 'stock'",
        )
    for process in program.processes:
        _check_values(process)
        _check_shapes(process)
        if isinstance(process, Source):
            _check_spikes(process, program.steps)
    by_name = {process.name: process for process in program.processes}
    _check_connections(program, by_name)
    _check_records(program, by_name)
    _check_loops(program, by_name)


def _check_values(process: Process) -> None:
    for field_name, (low, high) in _RANGES[type(process)].items():
        value = np.asarray(getattr(process, field_name))
        rank = _RANKS.get((type(process), field_name))
        if value.dtype.kind not in "iu" or value.size == 0 or rank not in (None, value.ndim):
            raise ProgramError(
                f"{field_name} is not an integer array of the right rank",
                found=f"{value.dtype} of shape {value.shape}",
                allowed="integers" + (f" of {rank} dimensions" if rank else ""),
                where=process.name,
            )
        if value.min() < low or value.max() > high:
            raise ProgramError(
                f"{field_name} is out of range",
                found=f"{value.min()}..{value.max()}",
                allowed=f"{low}..{high}",
                where=process.name,
                remedy="quantize the layer for this target",
            )
    if isinstance(process, Conv | Dense | Sparse) and not LOIHI2.holds(process.weight):
        low, high = process.weight.min(), process.weight.max()
        raise ProgramError(
            "weight is out of range",
            found=f"{low}..{high}" + ", odd ones among them" * bool(low < 0 < high),
            allowed=LOIHI2.weights,
            where=process.name,
            remedy="quantize the layer for this target",
        )


def _check_shapes(process: Process) -> None:
    problem = ""
    if isinstance(process, Conv):
        channels = (process.input_shape[-1], process.weight.shape[0], process.weight.shape[3])
        if len(process.input_shape) != 3:
            problem = f"input_shape {process.input_shape} is not (W, H, C)"
        elif process.groups < 1 or channels != (
            channels[2] * process.groups,
            channels[1] // process.groups * process.groups,
            channels[2],
        ):
            problem = f"weight {process.weight.shape}, groups {process.groups}, input {channels[0]}"
        elif max(process.groups, *process.dilation) > _INT8:
            problem = f"groups {process.groups}, dilation {process.dilation}: 127 at most"
        elif not (min(process.stride) > 0 and min(process.dilation) > 0):
            problem = f"stride {process.stride}, dilation {process.dilation}"
        elif min(process.padding) < 0 or max(*process.stride, *process.padding) > _INT8:
            problem = f"stride {process.stride}, padding {process.padding}"
    elif isinstance(process, Sparse) and np.shape(process.delay) not in ((), process.weight.shape):
        problem = f"delay of shape {np.shape(process.delay)}, weight {process.weight.shape}"
    elif isinstance(process, Sparse) and process.rows is not None:
        problem = _synapse_problem(process)
    elif isinstance(process, Lif | SoftIf):
        for field_name in _RANGES[type(process)]:
            shape = np.shape(getattr(process, field_name))
            if shape not in ((), tuple(process.shape)):
                problem = f"{field_name} of shape {shape}"
        if process.reset_interval < 0:
            problem = f"reset_interval {process.reset_interval}"
    if not problem and min(output_shape(process), default=0) < 1:
        problem = f"output of shape {output_shape(process)}"
    if problem:
        raise ProgramError(
            "the parameters do not fit together",
            found=problem,
            allowed="shapes that Lava's process accepts",
            where=process.name,
        )


def _synapse_problem(sparse: Sparse) -> str:
    if sparse.rows is None or sparse.columns is None or sparse.size is None:
        return "rows, columns and size have to be given together"
    if not (sparse.rows.shape == sparse.columns.shape == sparse.weight.shape):
        return "rows, columns and weight differ in length"
    pairs = np.stack([np.asarray(sparse.rows), np.asarray(sparse.columns)], axis=1)
    if pairs.min() < 0 or (pairs.max(axis=0) >= np.asarray(sparse.size)).any():
        return f"an index outside size {sparse.size}"
    if len(np.unique(pairs, axis=0)) != len(pairs):
        return "two synapses between the same pair"
    return ""


def _check_spikes(source: Source, steps: int) -> None:
    frames = source.spikes
    if frames is None:
        return
    if (
        frames.dtype != np.uint8
        or frames.shape[1:] != tuple(source.shape)
        or not 1 <= len(frames) <= steps
    ):
        raise ProgramError(
            "the source's spikes have the wrong type or shape",
            found=f"{frames.dtype} {frames.shape}",
            allowed=f"uint8 (1..{steps}, {', '.join(map(str, source.shape))})",
            where=source.name,
        )
    for start in range(0, len(frames), _FRAMES_AT_ONCE):  # by parts: the file may exceed memory
        if frames[start : start + _FRAMES_AT_ONCE].max() > 1:
            raise ProgramError(
                "the source sends values that are not spikes",
                found=f"{frames[start : start + _FRAMES_AT_ONCE].max()}",
                allowed="0 and 1",
                where=source.name,
                remedy="encode the input as spikes first",
            )


def _check_connections(program: Program, by_name: dict[str, Process]) -> None:
    fan_in: Counter[str] = Counter()
    for connection in program.connections:
        where = f"{connection.source} -> {connection.destination}"
        if not {connection.source, connection.destination} <= by_name.keys():
            raise ProgramError("a connection names a process that does not exist", where=where)
        source, destination = by_name[connection.source], by_name[connection.destination]
        sent, received = output_shape(source), input_shape(destination)
        shape = _reshaped(sent, connection.reshape)
        spikes = isinstance(source, Source) or is_neuron(source)
        synapse = isinstance(destination, Conv | Dense | Sparse)
        fan_in[destination.name] += 1
        if isinstance(destination, Source) or (synapse and not spikes):
            problem = "only spikes may enter a synapse, and nothing a source"
        elif synapse and fan_in[destination.name] > 1:
            problem = "a synapse takes one input: Lava would merge two spikes into one"
        elif shape != received or np.prod(sent) != np.prod(shape):
            problem = f"{sent} is sent as {shape}, {received} is needed"
        else:
            continue
        raise ProgramError("two processes do not fit together", found=problem, where=where)


def _reshaped(sent: Shape, reshape: Reshape) -> Shape:
    if reshape == "":
        return sent
    if reshape == "flatten":
        return (int(np.prod(sent)),)
    return tuple(int(n) for n in reshape)


def _check_records(program: Program, by_name: dict[str, Process]) -> None:
    firing = {n for n, p in by_name.items() if isinstance(p, Source) or is_neuron(p)}
    neurons = {n for n, p in by_name.items() if is_neuron(p)}
    for what, names, allowed in (
        ("record", program.record, firing),
        ("record_v", program.record_v, neurons),
    ):
        if not set(names) <= allowed or len(set(names)) != len(names):
            raise ProgramError(
                f"{what} is not a list of different names of spiking processes",
                found=", ".join(names),
                allowed=", ".join(sorted(allowed)),
            )
    if not program.record:
        raise ProgramError(
            "no spiking neuron is recorded",
            found="record=()",
            allowed="at least one name of a spiking process",
            remedy="where the network has none, put one behind a layer, such as purespike.nn.IF()",
        )


def _check_loops(program: Program, by_name: dict[str, Process]) -> None:
    """Neurons that feed each other with no synapse between wait for each other for ever."""
    after: dict[str, list[str]] = {name: [] for name in by_name}
    waiting: Counter[str] = Counter()
    for connection in program.connections:
        if is_neuron(by_name[connection.source]) and is_neuron(by_name[connection.destination]):
            after[connection.source].append(connection.destination)
            waiting[connection.destination] += 1
    ready = [name for name in by_name if not waiting[name]]
    while ready:
        for name in after[ready.pop()]:
            waiting[name] -= 1
            if not waiting[name]:
                ready.append(name)
    stuck = sorted(name for name, count in waiting.items() if count)
    if stuck:
        raise ProgramError(
            "neurons feed each other with no synapse between them",
            found=", ".join(stuck),
            allowed="loops through at least one synapse, which delays by a step",
        )
