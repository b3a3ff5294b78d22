"""What the CPU has that decides which settings are fast."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["multiplies_bf16"]

_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, x86 in tiles, ARM: as Linux names them
_WITHOUT = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI"}  # of oneDNN


def multiplies_bf16(
    cpuinfo: Path = Path("/proc/cpuinfo"), environ: Mapping[str, str] = os.environ
) -> bool | None:
    """Whether torch's convolutions have instructions for bfloat16 here; None if that is not known.

    Without them every product is emulated, and training in bfloat16 is several times slower than in
    float32.

    Args:
        cpuinfo: what the kernel says of the processor.
        environ: ``ONEDNN_MAX_CPU_ISA`` in it may forbid what the processor has.
    """
    if environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT:
        return False
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        return None
    flags = (line.split(":", 1) for line in lines if ":" in line)
    return any(
        name.strip() in ("flags", "Features") and _FLAGS & set(value.split())
        for name, value in flags
    )
