"""The golden samples of a network as C: inputs, outputs, and a checksum of each layer's step."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph
from purespike.targets.c.emit import Form, packed, sources
from purespike.targets.c.layers import Layer, Program
from purespike.targets.c.lower import lower
from purespike.targets.c.text import array, whole

MOST = 1 << 22  # bytes of golden.c's arrays, beyond which samples are left out


def write_c(
    graph: Graph,
    folder: Path,
    inputs: NDArray[Any],
    spikes: Mapping[str, NDArray[Any]],
    membranes: Mapping[str, NDArray[Any]],
    form: Form = "c",
) -> int:
    """Write the C program with golden samples into an existing folder.

    Args:
        graph: The network, the part on the chip.
        folder: Where.
        inputs: (T, B, *shape) of 0 and 1.
        spikes: (T, B, *shape) by firing neuron.
        membranes: (T, B, *shape) by neuron, after the reset, in the chip's units.
        form: As `sources`.

    Returns:
        How many of the samples it holds.

    Raises:
        CError: If the network has no exact form in integers.
    """
    files = sources(graph, form)
    program = lower(graph)
    samples = _fit(program, inputs)
    files |= golden(program, inputs[:, :samples], spikes, membranes)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return samples


def golden(
    program: Program,
    inputs: NDArray[Any],
    spikes: Mapping[str, NDArray[Any]],
    membranes: Mapping[str, NDArray[Any]],
) -> dict[str, str]:
    """golden.h and golden.c: for each sample, each step; arguments as `write_c`."""
    steps, samples = inputs.shape[:2]
    outs = [program.layers[i] for i in program.outputs]
    spiking = [x.name for x in outs if x.line is not None]
    reading = [x.name for x in outs if x.line is None]

    def rows(arrays: Mapping[str, NDArray[Any]], names: list[str]) -> list[NDArray[Any]]:
        return [arrays[n][:, :samples].reshape(steps, samples, -1).swapaxes(0, 1) for n in names]

    given = packed(inputs.reshape(steps, samples, -1).swapaxes(0, 1))
    sent = [packed(a) for a in rows(spikes, spiking)]
    out = np.concatenate(sent, axis=2) if sent else np.zeros((samples, steps, 1), np.uint8)
    read = rows(membranes, reading)
    told = np.concatenate(read, axis=2) if read else np.zeros((samples, steps, 1), np.int64)
    checks = np.array(
        [
            [[_crc(x, spikes, membranes, t, b) for x in program.layers] for t in range(steps)]
            for b in range(samples)
        ],
        np.uint32,
    )
    what = "#ifdef TRACE\n#define GOLDEN_WHAT {}\n#else\n#define GOLDEN_WHAT {}\n#endif\n"
    header = (
        "#ifndef GOLDEN_H\n#define GOLDEN_H\n\n#include <stdint.h>\n\n"
        f"#define GOLDEN_SAMPLES {samples}U\n"
        + what.format('"spikes and membranes"', '"outputs"')
        + "\nextern const uint8_t golden_inputs[];\nextern const uint8_t golden_outputs[];\n"
        "extern const int32_t golden_readouts[];\nextern const uint32_t golden_readout_count;\n"
        "extern const uint32_t golden_crc[];\n"
        "extern const uint32_t golden_neurons[];\nextern const uint8_t golden_fires[];\n"
        "extern const char *const golden_names[];\n\n#endif\n"
    )
    layers = program.layers
    names = [f'"{_quoted(x.name)}"' for x in layers]
    parts = [
        array("uint8_t", "golden_inputs", given.ravel().tolist()),
        array("uint8_t", "golden_outputs", out.ravel().tolist()),
        array("int32_t", "golden_readouts", whole(told.astype(np.int64))),
        f"const uint32_t golden_readout_count = {told.shape[2] if read else 0}U;\n",
        array("uint32_t", "golden_crc", [f"{v}U" for v in checks.ravel().tolist()]),
        array("uint32_t", "golden_neurons", [f"{x.neurons}U" for x in layers]),
        array("uint8_t", "golden_fires", [int(x.line is not None) for x in layers]),
        array("char *const", "golden_names", names),
    ]
    return {"golden.h": header, "golden.c": '#include "golden.h"\n\n' + "\n".join(parts)}


def _quoted(name: str) -> str:
    """As a C string holds it; trigraphs and escapes stay what they are."""
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)
    return safe.encode("ascii", "replace").decode().replace("?", "_")


def _fit(program: Program, inputs: NDArray[Any]) -> int:
    """How many samples fit."""
    layers = len(program.layers)
    sample: int = inputs.shape[0] * (int(np.prod(inputs.shape[2:])) // 8 + 4 * layers + 1)
    return max(1, min(int(inputs.shape[1]), MOST // sample))


def _crc(
    layer: Layer,
    spikes: Mapping[str, NDArray[Any]],
    membranes: Mapping[str, NDArray[Any]],
    step: int,
    sample: int,
) -> int:
    crc = 0
    if layer.line is not None:
        crc = zlib.crc32(spikes[layer.name][step, sample].astype(np.uint8).tobytes())
    return zlib.crc32(membranes[layer.name][step, sample].astype("<i4").tobytes(), crc)
