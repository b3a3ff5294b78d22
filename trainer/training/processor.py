"""What the CPU has that decides which settings are fast."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch.nn import functional

from purespike.compiler.native import level
from purespike.trainer.nn.synapses import available
from purespike.trainer.training.settings import TrainConfig

__all__ = ["bf16_factor", "for_this_processor", "multiplies_bf16"]

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


def bf16_factor(rounds: int = 5) -> float:
    """How many times as much CPU time a convolution takes in bfloat16 as in float32, measured now.

    Forward and backward of 3x3 on 32 channels, 8 images of 16 x 16; the least of ``rounds`` each.
    """
    x = torch.full((8, 32, 16, 16), 0.5, requires_grad=True)
    weight = torch.full((32, 32, 3, 3), 0.1, requires_grad=True)
    least = {False: float("inf"), True: float("inf")}
    for half in (False, True) * (rounds + 1):  # the first of each warms up
        start = time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            y = functional.conv2d(x, weight, padding=1)
        y.float().sum().backward()  # type: ignore[no-untyped-call]
        least[half] = min(least[half], time.process_time() - start)
    return least[True] / least[False]


def for_this_processor(config: TrainConfig) -> TrainConfig:
    """The configuration with what ``precision = "auto"`` stands for here.

    bfloat16 with channels-last on a CPU that multiplies in it, float32 everywhere else; on a CPU
    with AVX2 by the kernels for spikes where these can be compiled.
    """
    if config.precision != "auto":
        return config
    here = config.device == "cpu"
    half = here and bool(multiplies_bf16())
    kernels = config.spike_kernels or (here and bool(level()) and not available())
    return replace(
        config,
        precision="bf16" if half else "float32",
        channels_last=config.channels_last or half or kernels,
        spike_kernels=kernels,
    )
