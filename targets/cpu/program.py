"""A plan made ready for the kernel library: weights laid out, memory taken, run with one call."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.targets.cpu.library import (
    ArmRecord,
    BufferRecord,
    LayerRecord,
    NetworkRecord,
    kernels,
)
from purespike.targets.cpu.lookups import looked_up, lookup_size, lookup_tables
from purespike.targets.cpu.plan import Arm, Buffer, Layer, Plan
from purespike.targets.cpu.weights import delayed, laid_out, packable
from purespike.targets.cpu.widths import whole_neuron

_KINDS = {"tables": 0, "events": 1, "lanewise": 2}
_TASKS = {"neurons": 0, "logic": 1, "pool": 2, "shift": 3, "flatten": 4}
_CHOICES = {None: 0, False: 1, True: 2}
_RESETS = {"zero": 0, "subtract": 1, "none": 2}
THREAD_CYCLES = 300_000  # of work for each thread: starting one takes a third of it
_NEVER = 2**31 - 1  # a threshold that no membrane reaches


class Program:
    """A plan for a number of samples, and the memory that it runs in.

    Args:
        plan: What runs.
        samples: How many at a time.
        membranes: Neurons whose membranes, and synaptic currents, are kept at every step.
        threads: How many at most, fewer where the work is little; by default one for each processor
            that this process may use.
        lookups: Convolutions as lookups in registers, where the processor has them: always, never,
            or where they cost less at the measured rates.

    Raises:
        KernelError: If there is no kernel library.
    """

    def __init__(
        self,
        plan: Plan,
        samples: int,
        membranes: Collection[str] = (),
        threads: int | None = None,
        lookups: bool | None = None,
    ) -> None:
        self.plan, self.samples = plan, samples
        found = kernels()
        if isinstance(found, str):
            raise RuntimeError(found)
        self._library = found
        self._kept: list[Any] = []  # what the kernel holds addresses of
        self.bits = [self._memory(b) for b in plan.buffers]
        self._buffers = (BufferRecord * len(plan.buffers))(
            *(
                BufferRecord(bits.ctypes.data, *b.place, b.bytes, b.border)
                for b, bits in zip(plan.buffers, self.bits, strict=True)
            )
        )
        self.membranes: dict[str, NDArray[np.int32]] = {}
        self.currents: dict[str, NDArray[np.int32]] = {}
        self._states: list[tuple[NDArray[np.int32], int]] = []
        self._layers = (LayerRecord * len(plan.layers))(
            *(self._layer(x, x.name in membranes) for x in plan.layers)
        )
        self._network = NetworkRecord(
            ctypes.addressof(self._buffers),
            ctypes.addressof(self._layers),
            len(plan.layers),
            plan.steps,
            samples,
            1,
            _CHOICES[lookups],
        )
        most = threads or len(os.sched_getaffinity(0))
        found.work.restype = ctypes.c_double
        useful = int(found.work(ctypes.byref(self._network)) // THREAD_CYCLES)
        self.threads = self._network.threads = max(1, min(most, useful))

    def run(self, inputs: Iterable[NDArray[np.uint8]]) -> None:
        """Run all steps of all samples; the results lie in `spikes`, `membranes`, `currents`.

        Args:
            inputs: (T, samples, *shape) of 0 and 1, for each input of the graph.
        """
        for k, x in enumerate(inputs):
            x = np.ascontiguousarray(x, dtype=np.uint8)
            images = ctypes.c_int64(self.plan.steps * self.samples)
            self._library.pack(ctypes.byref(self._buffers, k * ctypes.sizeof(BufferRecord)),
                               ctypes.c_void_p(x.ctypes.data), images)  # fmt: skip
        for state, start in self._states:
            state.fill(start)
        if self._library.run(ctypes.byref(self._network)):
            raise MemoryError(
                f"the cpu executor, for {self.samples} samples of {self.plan.steps} steps"
            )

    def spikes(self, name: str) -> NDArray[np.uint8]:
        """What a neuron sent: (T, samples, C, H, W), a byte each."""
        k, delay = self.plan.spikes[name]
        buffer, p = self.plan.buffers[k], self.plan.buffers[k].border
        c, h, w = buffer.place
        inner = self.bits[k][:, :, p : p + h, p : p + w]
        sent = np.moveaxis(np.unpackbits(inner, axis=4, count=c, bitorder="little"), 4, 2)
        return delayed(sent, delay) if delay else sent

    def _memory(self, b: Buffer) -> NDArray[np.uint8]:
        _c, h, w = b.place
        shape = (self.plan.steps, self.samples, h + 2 * b.border, w + 2 * b.border, b.bytes)
        size = int(np.prod(shape))
        # A vector may be read where its last bytes belong to nobody.
        return self._aligned(np.zeros(size + 64, np.uint8))[:size].reshape(shape)

    def _aligned(self, values: NDArray[Any]) -> NDArray[Any]:
        """The same numbers at an address that vectors can be read from."""
        room = np.zeros(values.nbytes + 64, np.uint8)
        start = -room.ctypes.data % 64
        at = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
        at[...] = values
        self._kept.append(at)
        return at

    def _layer(self, x: Layer, record: bool) -> LayerRecord:
        c, h, w = x.place
        op = x.neuron
        tile = next((n for n in (64, 32) if c >= n), 16)
        padded = -(-c // tile) * tile
        row = LayerRecord(out=x.out, arms=len(x.arms), height=h, width=w, channels=c, padded=padded,
                     tile=tile, member=x.loop, table=x.table)  # fmt: skip
        row.task = _TASKS["neurons" if record else x.task]
        arms = (ArmRecord * len(x.arms))(*(self._arm(a, x, padded, tile) for a in x.arms))
        self._kept.append(arms)
        row.arm = ctypes.addressof(arms)
        if op is None:
            return row
        unit = 1 << x.shift
        row.brief, row.narrow, row.shift = x.brief, x.narrow, x.shift
        row.decay, row.current_decay = whole_neuron(op)
        row.limit = op.fixed.limit if op.fixed else 1 << 30
        row.reset = _RESETS[op.reset]
        row.initial = round(op.initial * (1 if x.narrow else unit))
        scale = 1 if x.narrow else unit
        never = 32767 if x.narrow else _NEVER
        threshold = np.ceil(np.clip(x.threshold * scale, -never, never))
        parts = {"bias": x.bias, "threshold": threshold}
        parts["amount"] = x.amount * scale if op.reset == "subtract" else np.zeros(1)
        places = any(p.ndim == 3 for p in parts.values())
        row.places = h * w if places else 1
        for name, part in parts.items():
            full = np.full((row.places, padded), never if name == "threshold" else 0, np.int64)
            shaped = part if part.ndim == 3 else part.reshape(-1, 1, 1)
            wide = np.broadcast_to(shaped, (c, h, w) if places else (c, 1, 1))
            full[:, :c] = wide.reshape(c, -1).T
            setattr(row, name, self._aligned(full.astype(np.int32)).ctypes.data)
        if x.loop:
            for name, start in (("membrane", row.initial), ("current", 0)):
                state = self._aligned(np.zeros((self.samples, h * w, padded), np.int32))
                self._states.append((state, start))
                setattr(row, name, state.ctypes.data)
        if record or x.out < 0:
            self._record(x, row)
        elif self._library.lookups() and looked_up(x):
            row.lookups = self._aligned(lookup_tables(x, padded)).ctypes.data
        return row

    def renew(self) -> None:
        """Record into new arrays from now on: those so far belong to whoever took them."""
        for x, row in zip(self.plan.layers, self._layers, strict=True):
            if x.name in self.membranes:
                self._record(x, row)

    def _record(self, x: Layer, row: LayerRecord) -> None:
        c, h, w = x.place
        shape = (self.plan.steps, self.samples, h, w, c)
        assert x.neuron is not None
        for name, kept, held in (
            ("membranes", self.membranes, True),
            ("currents", self.currents, bool(x.neuron.current_decay)),
        ):
            if held:
                kept[x.name] = np.zeros(shape, np.int32)
                setattr(row, name, kept[x.name].ctypes.data)

    def _arm(self, a: Arm, x: Layer, padded: int, tile: int) -> ArmRecord:
        (kh, kw), (sy, sx), (py, px), (dy, dx) = a.kernel, a.stride, a.padding, a.dilation
        row = ArmRecord(
            _KINDS[a.kind], a.source, a.delay, kh, kw, sy, sx, py, px, dy, dx, shared=a.shared
        )
        if x.task in ("shift", "flatten"):
            out = np.packbits(np.moveaxis(a.weight != 0, 0, -1), axis=-1, bitorder="little") \
                if x.task == "shift" else np.zeros(1, np.uint8)  # fmt: skip
            row.weights = self._aligned(out).ctypes.data
            return row
        row.lookup_size = lookup_size(a)
        row.packed = packable(a, tile)
        row.first, row.channels = a.first, a.weight.shape[1]
        row.bytes = -(-row.channels // 8)
        row.weights = self._aligned(laid_out(a, x.place, padded, tile)).ctypes.data
        row.places = a.weight[0, 0].size if a.weight.ndim == 4 and a.kind == "lanewise" else 1
        row.safe = 32767 // max(1, int(np.abs(a.weight).max(initial=0)))
        return row
