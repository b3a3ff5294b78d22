"""A program of the cpu executor as one piece of memory, for a processor that is not ours."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.targets.cpu.library import ArmRecord, BufferRecord, LayerRecord, NetworkRecord
from purespike.targets.cpu.program import Program

START = 64  # of the network's record; the number of buffers stands before it


class Image:
    """The memory of a program, its addresses replaced by offsets (tests/helpers/cpu_emulated.cpp).

    Args:
        program: Packed inputs included: `Program.run` has filled them.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._arrays = {
            a.ctypes.data: a
            for a in (*program._kept, *program.membranes.values(), *program.currents.values())
            if isinstance(a, np.ndarray)
        }
        self._offsets: dict[int, int] = {}
        self._parts: list[tuple[int, bytes]] = []
        self._end = START + ctypes.sizeof(NetworkRecord)
        buffers = (BufferRecord * len(program.bits))(*program._buffers)
        for record in buffers:
            record.bits = self._array(record.bits)
        layers = (LayerRecord * len(program.plan.layers))(*program._layers)
        for record in layers:
            arms = (ArmRecord * record.arms)(
                *(ArmRecord * record.arms).from_address(record.arm or 0)
            )
            for arm in arms:
                arm.weights = self._array(arm.weights)
            record.arm = self._add(bytes(arms))
            for name, kind in LayerRecord._fields_:
                if kind is ctypes.c_void_p and name != "arm":
                    setattr(record, name, self._array(getattr(record, name)))
        whole = NetworkRecord.from_buffer_copy(program._network)
        whole.buffers, whole.layers = self._add(bytes(buffers)), self._add(bytes(layers))
        self._parts.append((START, bytes(whole)))
        self._parts.append((0, len(buffers).to_bytes(4, "little")))

    def _add(self, data: bytes) -> int:
        at = -(-self._end // 64) * 64
        self._parts.append((at, data))
        self._end = at + len(data) + 64  # vectors may be read where the last bytes are nobody's
        return at

    def _array(self, address: int | None) -> int | None:
        if not address:
            return None
        if address not in self._offsets:
            self._offsets[address] = self._add(self._arrays[address].tobytes())
        return self._offsets[address]

    def __bytes__(self) -> bytes:
        """What the emulated processor reads."""
        memory = bytearray(self._end)
        for at, data in self._parts:
            memory[at : at + len(data)] = data
        return bytes(memory)

    def found(self, memory: bytes, array: NDArray[Any]) -> NDArray[Any]:
        """What the emulated processor made of an array of the program."""
        at = self._offsets[array.ctypes.data]
        held = np.frombuffer(memory, array.dtype, array.size, at)
        return held.reshape(array.shape)
