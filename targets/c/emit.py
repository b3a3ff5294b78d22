"""The C program as text: what is the same for all networks lies in ``sources/``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph
from purespike.targets.c.layers import Arm, CError, Ints, Layer, Program
from purespike.targets.c.lower import lower
from purespike.targets.c.text import Pool, halves, table

Form = Literal["c", "hls"]
RESETS = {"none": 0, "zero": 1, "subtract": 2}
COPIED = ("parameters.h", "main.c", "Makefile")
RECORD = "record.c"  # that no program holds: it is compiled here alone
_RING = 1 << 31


@dataclass(frozen=True)
class Memory:
    """What the program keeps from step to step, as indices into its arrays.

    Attributes:
        state: By layer, where its membranes begin in ``narrow`` or ``wide``; None keeps none.
        current: By layer, where its synaptic currents begin in ``wide``.
        narrow, wide: Numbers of 16 and 32 bits.
        spikes: Bytes.
        sums16, sums32: The most channels of a layer with sums of that width.
        column_rows, columns: The most that is listed of spikes by column, and of columns.
    """

    state: tuple[int | None, ...]
    current: tuple[int | None, ...]
    narrow: int
    wide: int
    spikes: int
    sums16: int
    sums32: int
    column_rows: int
    columns: int


def memory(program: Program) -> Memory:
    """Lay out what is kept."""
    narrow = wide = 0
    state: list[int | None] = []
    current: list[int | None] = []
    for layer in program.layers:
        state.append(None if not layer.stores else narrow if layer.narrow else wide)
        narrow += layer.neurons * (layer.stores and layer.narrow)
        wide += layer.neurons * (layer.stores and not layer.narrow)
        current.append(wide if layer.op.current_decay else None)
        wide += layer.neurons * bool(layer.op.current_decay)
    shared = [a for a in map(shared_columns, program.layers) if a is not None]
    return Memory(
        tuple(state),
        tuple(current),
        narrow,
        wide,
        sum(line.bytes * line.steps for line in program.lines),
        max((x.place[0] for x in program.layers if x.brief), default=0),
        max((x.place[0] for x in program.layers if not x.brief), default=0),
        max((span(a) * a.kernel[0] * program.lines[a.line].place[0] for a in shared), default=0),
        max(map(span, shared), default=0),
    )


def span(arm: Arm) -> int:
    """Columns of the line from the first to the last that one pixel hears."""
    return (arm.kernel[1] - 1) * arm.dilation[1] + 1


def shared_columns(layer: Layer) -> Arm | None:
    """The first synapse of a layer whose neighbouring pixels hear the same columns, if any."""
    for arm in layer.arms:
        plain = arm.kind == "rows" and arm.groups == 1 and not (arm.sliced or arm.shared)
        if plain and arm.kernel[1] > 1 and layer.place[2] > 1:
            return arm
    return None


def sources(graph: Graph, form: Form = "c") -> dict[str, str]:
    """The C files of a compiled network, without its golden samples, by name.

    Args:
        graph: The network, the part on the chip.
        form: ``hls`` puts in the pragmas of Vitis HLS, which other compilers do not see.

    Raises:
        CError: If the network has no exact form in integers.
    """
    program = lower(graph)
    kept = memory(program)
    files = {name: text_of(name) for name in COPIED}
    return files | {
        "network.h": _header(program, kept),
        "network.c": _network(form),
        "parameters.c": _parameters(program, kept),
    }


def text_of(name: str) -> str:
    """A file of `sources/`, as it lies there."""
    return (resources.files("purespike.targets.c") / "sources" / name).read_text("utf-8")


def _network(form: Form) -> str:
    windows = text_of("windows.c")
    text = text_of("network.c").replace(
        "/* WINDOWS */\n", "\n".join(windows.replace("BITS", bits) for bits in ("16", "32"))
    )
    pragma = "" if form == "c" else r"#ifdef __SYNTHESIS__\n#pragma HLS \1\n#endif\n"
    return re.sub(r"^ */\* HLS: (.*) \*/\n", pragma, text, flags=re.M)


def _header(program: Program, kept: Memory) -> str:
    ring = math.lcm(*(line.steps for line in program.lines))
    if ring >= _RING:
        raise CError("the delays of the network have no common period of 31 bits", found=str(ring))
    spiking = [i for i in program.outputs if program.layers[i].line is not None]
    reading = [i for i in program.outputs if program.layers[i].line is None]
    c, h, w = program.lines[0].place
    sizes = {
        "STEPS": program.steps,
        "LAYERS": len(program.layers),
        "OUTPUTS": len(program.outputs),
        "IN_BYTES": -(-c * h * w // 8),
        "OUT_BYTES": max(1, sum(-(-program.layers[i].neurons // 8) for i in spiking)),
        "READOUTS": max(1, sum(program.layers[i].neurons for i in reading)),
        "NEURONS": sum(x.neurons for x in program.layers),
        "RING": ring,
        "SPIKE_BYTES": kept.spikes,
        "NARROW": max(1, kept.narrow),
        "WIDE": max(1, kept.wide),
        "SUMS_16": max(1, kept.sums16),
        "SUMS_32": max(1, kept.sums32),
        "COLUMN_ROWS": max(1, kept.column_rows),
        "COLUMNS": max(1, kept.columns),
    }
    defines = "\n".join(f"#define NETWORK_{k} {v}U" for k, v in sizes.items())
    ranges = "\n".join(
        f" *   {x.name}: sums {x.current[0]} to {x.current[1]} ({16 if x.brief else 32} bits), "
        f"membranes {x.membrane[0]} to {x.membrane[1]} ({16 if x.narrow else 32} bits)"
        for x in program.layers
    ).replace("*/", "* /")
    return (
        text_of("network.h")
        .replace("/* SIZES */", defines)
        .replace(" *   RANGES", ranges)
        .replace("INPUT", f"{c} x {h} x {w}")
    )


def _parameters(program: Program, kept: Memory) -> str:
    pool = Pool()
    arms: list[str] = []
    layers: list[str] = []
    for i, layer in enumerate(program.layers):
        numbers = [_numbers(v, layer, pool) for v in (layer.bias, layer.threshold, layer.amount)]
        op, fixed = layer.op, layer.op.fixed
        assert fixed is not None
        unit = 1 << layer.shift
        whole = 1 << fixed.decay_bits
        values: list[object] = [
            *layer.place,
            len(arms),
            len(layer.arms),
            _or_none(layer.line),
            _or_none(kept.state[i]),
            _or_none(kept.current[i]),
            int(layer.narrow),
            int(layer.brief),
            int(layer.plain),
            RESETS[op.reset],
            fixed.decay_bits,
            round(op.decay * whole),
            round(op.current_decay * whole),
            unit,
            fixed.limit,
            round(op.initial * unit),
            (1 << fixed.fraction_bits) // unit,
        ]
        layers.append(", ".join([*map(_text, values), *numbers]))
        arms += [_arm(arm, layer, program, pool) for arm in layer.arms]
    lines, first = [], 0
    for line in program.lines:
        held = (*line.place, line.pixel, line.bytes, line.steps, first)
        lines.append(", ".join(map(_text, held)))
        first += line.bytes * line.steps
    outputs = ", ".join(map(_text, program.outputs))
    return "\n".join(
        [
            '#include "network.h"\n#include "parameters.h"\n',
            *pool.texts(),
            table("line_t", "network_lines", lines),
            table("arm_t", "network_arms", arms),
            table("layer_t", "network_layers", layers),
            f"const uint32_t network_outputs[{len(program.outputs)}] = {{{outputs}}};\n",
        ]
    )


def _text(value: object) -> str:
    return f"{value}U" if isinstance(value, int) and value >= 0 else str(value)


def _or_none(index: int | None) -> object:
    return "NONE" if index is None else index


def _steps(values: Ints) -> tuple[int, int]:
    """(from pixel to pixel, from channel to channel) of numbers as `Layer` holds them."""
    if values.size == 1:
        return 0, 0
    return (0, 1) if values.ndim == 1 else (values.shape[1], 1)


def _numbers(values: Ints, layer: Layer, pool: Pool) -> str:
    pixel, channel = _steps(values)
    return f"{{{pool.put('numbers', values)}U, {pixel}U, {channel}U}}"


def _arm(arm: Arm, layer: Layer, program: Program, pool: Pool) -> str:
    line, bits = program.lines[arm.line], arm.bits
    weight, kind = arm.weight, {4: "bytes", 8: "int8", 16: "int16", 32: "numbers"}[bits]
    if arm.kind == "rows":
        row = layer.place[0] if arm.sliced else weight.shape[-1]
        row_step = weight.shape[-1] + (weight.shape[-1] % 2) * (bits == 4)
        pixel_step, channel_step = (layer.place[0] if arm.sliced else 0), 0
        if bits == 4:
            weight = halves(weight.reshape(-1, weight.shape[-1]))
    else:
        row, row_step = 0, 0
        pixel_step, channel_step = _steps(weight)
    values: Mapping[str, object] = {
        "weights": pool.put(kind, weight),
        "late": "NONE" if arm.late is None else pool.put("bytes", arm.late),
        "source": "NONE" if arm.source is None else pool.put("words", arm.source),
        "line": arm.line,
        "delay": arm.delay,
        "rows": int(arm.kind == "rows"),
        "bits": bits,
        "geometry": ", ".join(
            f"{a}U, {b}U" for a, b in (arm.kernel, arm.stride, arm.padding, arm.dilation)
        ),
        "tap": 0 if arm.shared else line.place[0],
        "row": row,
        "row_step": row_step,
        "pixel_step": pixel_step,
        "channel_step": channel_step,
        "columns": int(arm is shared_columns(layer)),
        "group": line.place[0] // arm.groups,
    }
    return ", ".join(map(_text, values.values()))


def packed(spikes: NDArray[Any]) -> NDArray[np.uint8]:
    """Spikes (..., n) as bytes, the first place in the lowest bit."""
    return np.packbits(spikes.astype(np.uint8), axis=-1, bitorder="little")
