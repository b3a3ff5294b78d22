"""Golden samples in NIR's own form for recordings: ``NIRGraphData`` of nir 1.0.8.

One ``NIRNodeData`` for each node of model.nir that was recorded, by the node's name in that file.
Its observables are ``TimeGriddedData``: ``spikes``, bool, and ``membranes``, int32, each of shape
(samples, steps, neurons); an image's neurons are numbered by (C, H, W), the last axis fastest. The
input node has ``spikes``. A membrane is that after the reset, in 64ths of a weight.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, cast

import nir
import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.graph import Graph
from purespike.targets.nir.emit import to_document


def to_nir_data(
    graph: Graph,
    inputs: NDArray[Any],
    spikes: Mapping[str, NDArray[Any]],
    membranes: Mapping[str, NDArray[Any]],
) -> nir.NIRGraphData:
    """Recordings of a network as NIR holds them.

    Args:
        graph: That was recorded; the names are those of its file (`write_nir`).
        inputs: (T, B, *shape) of 0 and 1.
        spikes: (T, B, *shape) by neuron that fires.
        membranes: (T, B, *shape) by neuron.

    Raises:
        NirError: If NIR cannot say the graph.
    """
    said = json.loads(to_document(graph).metadata)
    node_of = {record["name"]: record["node"] for record in said["nodes"] if "node" in record}

    def grid(values: NDArray[Any], dtype: Any) -> nir.TimeGriddedData:
        steps, samples = values.shape[:2]
        rows = values.reshape(steps, samples, -1).swapaxes(0, 1).astype(dtype)
        return nir.TimeGriddedData(np.ascontiguousarray(rows), graph.dt)

    found: dict[str, dict[str, Any]] = {
        said["inputs"][0]["node"]: {"spikes": grid(inputs, bool)},
    }
    for name, values in spikes.items():
        found.setdefault(node_of[name], {})["spikes"] = grid(values, bool)
    for name, values in membranes.items():
        found.setdefault(node_of[name], {})["membranes"] = grid(values, np.int32)
    return nir.NIRGraphData({node: nir.NIRNodeData(kept) for node, kept in found.items()})


def data_bytes(data: nir.NIRGraphData) -> bytes:
    """The HDF5 file that ``nir.write_data`` makes, which ``nir.read_data`` reads."""
    buffer = io.BytesIO()
    nir.write_data(cast(io.RawIOBase, buffer), data)
    return buffer.getvalue()
