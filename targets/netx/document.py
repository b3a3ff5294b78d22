"""A netx file as plain data.

Layout (lava-dl 0.6.0, ``lava/lib/dl/netx/hdf5.py``): ``layer/<i>`` holds ``type`` and, by type:

    input     shape
    conv      shape, weight (out, in / groups, kH, kW), stride, padding, dilation, groups,
              bias (out,), neuron
    dense     shape, weight (out, in), bias (out,), neuron
    flatten   (C, H, W) -> (C * H * W,), channels slowest

Shapes are (C, H, W). ``neuron`` holds ``type`` (LOIHI or CUBA), ``iDecay``, ``vDecay`` (of 4096),
``vThMant``, and what netx ignores. netx ignores ``simulation`` and ``purespike`` too.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py
from numpy.typing import NDArray

Field = NDArray[Any] | str
Fields = Mapping[str, Field]
DECAY = 4096  # of iDecay and vDecay: everything is gone after a step
NEVER = 131071  # the highest threshold: an integrator below it never fires


@dataclass(frozen=True, eq=False)
class Document:
    """The layers in order.

    Attributes:
        layers: The fields of each layer; those of its neuron as ``neuron/<field>``.
        simulation: ``Ts`` and ``tSample``: a time step and a sample, in the same unit.
        metadata: JSON text of purespike; empty where another tool wrote the file.
    """

    layers: tuple[Fields, ...]
    simulation: Fields
    metadata: str = ""

    def to_bytes(self) -> bytes:
        """The HDF5 file: the same document gives the same bytes."""
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            for index, fields in enumerate(self.layers):
                _put(file.create_group(f"layer/{index}"), fields)
            _put(file.create_group("simulation"), self.simulation)
            if self.metadata:
                file["purespike"] = self.metadata
        return buffer.getvalue()

    def digest(self) -> str:
        """SHA-256 of the layers, in hexadecimal: of what they say, not of how HDF5 packs it."""
        sha = hashlib.sha256()
        for index, fields in enumerate((*self.layers, self.simulation)):
            for name, value in sorted(fields.items()):
                shape = "text" if isinstance(value, str) else str(list(value.shape))
                plain = value if isinstance(value, str) else value.astype("<f8").tobytes()
                raw = plain.encode() if isinstance(plain, str) else plain
                sha.update(f"{index}/{name} {shape} {len(raw)}\n".encode() + raw)
        return sha.hexdigest()


def _put(group: Any, fields: Fields) -> None:
    for name, value in fields.items():
        if isinstance(value, str):  # as lava-dl writes its texts
            group.create_dataset(name, (1,), "S10", [value.encode("ascii")])
        elif value.ndim:
            group.create_dataset(name, data=value, compression="gzip")
        else:
            group.create_dataset(name, data=value)
