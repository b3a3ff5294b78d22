"""The kernel library, and the records that it reads: kernels/network.h has the same fields."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

from purespike.compiler.native import library

_SOURCE = Path(__file__).with_name("kernels") / "kernels.cpp"
# -fwrapv: sums in 16 bits may pass through a value that only the final one fits.
_FLAGS = ("-std=c++17", "-O3", "-fwrapv", "-fPIC", "-shared", "-pthread", "-Wno-psabi")


def kernels() -> ctypes.CDLL | str:
    """The kernel library, or why there is none."""
    return library(_SOURCE, _FLAGS, "the kernel of the cpu executor")


def _numbers(names: str) -> list[tuple[str, Any]]:
    return [(n, ctypes.c_int32) for n in names.split()]


def _addresses(names: str) -> list[tuple[str, Any]]:
    return [(n, ctypes.c_void_p) for n in names.split()]


class BufferRecord(ctypes.Structure):
    """`Buffer` of network.h."""

    _fields_ = _addresses("bits") + _numbers("channels height width bytes border")


class ArmRecord(ctypes.Structure):
    """`Arm` of network.h."""

    _fields_ = [
        *_numbers("kind source delay kh kw sy sx py px dy dx places shared packed"),
        *_numbers("first bytes channels safe lookup_size"),
        *_addresses("weights"),
    ]


class LayerRecord(ctypes.Structure):
    """`Layer` of network.h."""

    _fields_ = [
        *_numbers("task out arms height width channels padded tile brief narrow shift"),
        *_numbers("decay current_decay limit reset initial places table member"),
        *_addresses("arm lookups bias threshold amount"),
        *_addresses("membrane current membranes currents"),
    ]


class NetworkRecord(ctypes.Structure):
    """`Network` of network.h."""

    _fields_ = [
        *_addresses("buffers layers"),
        *_numbers("count steps samples threads choice"),
    ]
