"""The fast path of the spiking neuron on a CPU: one small C++ file, compiled where it first runs.

What it computes is what :mod:`purespike.trainer.neuron` computes with torch operations, rounding by
rounding; it only walks over memory once. It is plain C++ behind ``ctypes``, without torch's
headers, so compiling takes about two seconds, once for each machine and version, into
``$XDG_CACHE_HOME/purespike`` (by default ``~/.cache/purespike``). Without a compiler, OpenMP or a
folder to write to there is no fast path, and nothing else changes.

``PURESPIKE_KERNEL`` in the environment: ``auto`` (the default), ``off``, or ``require`` to stop
with the reason where the fast path cannot be had.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from purespike.trainer.errors import ConfigError
from purespike.trainer.surrogate import (
    ATan,
    FastSigmoid,
    PiecewiseQuadratic,
    Rectangular,
    Surrogate,
    Triangular,
)

__all__ = ["SLOPES", "available", "backward", "forward", "usable"]

_SOURCE = Path(__file__).with_suffix(".cpp")
# No contraction and no -ffast-math: the roundings are part of the meaning.
_FLAGS = (
    *("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
    *("-fopenmp", "-fPIC", "-shared"),
)
# Named levels, not -march=native: a cache may be shared by machines that differ.
_LEVELS = {"AVX512": ("-march=x86-64-v4",), "AVX2": ("-march=x86-64-v3",)}
_DTYPES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}
_WORTH_A_THREAD = 1 << 15  # elements
_GIVEN = 0  # the surrogate's slope is an array that torch computed
# The numbers of `enum Surrogate` in kernel.cpp, with steepness and peak.
SLOPES: dict[type, Callable[[Any], tuple[int, float, float]]] = {
    ATan: lambda s: (1, math.pi / 2 * s.alpha, s.alpha / 2),
    FastSigmoid: lambda s: (2, s.alpha, 1.0),
    Triangular: lambda s: (3, s.alpha, 1.0),
    PiecewiseQuadratic: lambda s: (3, s.alpha, s.alpha),
    Rectangular: lambda s: (4, s.width / 2, 1.0 / s.width),
}


def available() -> str:
    """Say why there is no fast path here; the empty string where there is one."""
    library = _library(_mode())
    return library if isinstance(library, str) else ""


def usable(x: Tensor) -> bool:
    """Whether the fast path takes this input: a plain CPU tensor in eager mode.

    Raises:
        ConfigError: if ``PURESPIKE_KERNEL`` is no known value, or is ``require`` in vain.
    """
    return (
        not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype in _DTYPES
        and type(x) in (Tensor, nn.Parameter)
        and x.numel() > 0
        and not torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
        and not isinstance(_library(_mode()), str)
    )


def forward(
    x: Tensor,
    *,
    scale: float,
    decay: float,
    threshold: float,
    amount: float,
    to_zero: bool,
    keep_gap: bool,
) -> tuple[Tensor, Tensor | None, float]:
    """Run all steps.

    Args:
        x: input currents, (T, B, ...), for which :func:`usable` holds.
        scale: factor on ``x``.
        decay: of the membrane potential, after the reset.
        threshold: of firing.
        amount: what a soft reset subtracts.
        to_zero: hard reset.
        keep_gap: whether a backward pass will follow.

    Returns:
        The spikes, ``h - threshold`` (both in the dtype and memory format of ``x``), and the mean
        of the spikes.
    """
    if not torch.ops.aten.is_non_overlapping_and_dense(x[0]):
        x = x.contiguous()
    steps, n = x.shape[0], x[0].numel()
    spikes = x.new_empty_strided(x.shape, (n, *x.stride()[1:]))  # x may repeat one step: stride 0
    gap = torch.empty_like(spikes) if keep_gap else None
    fired = _function("forward", x.dtype)(
        *(x.data_ptr(), x.stride(0), spikes.data_ptr(), 0 if gap is None else gap.data_ptr()),
        *(steps, n, scale, decay, threshold, amount, to_zero, _threads(x)),
    )
    return spikes, gap, fired / x.numel()


def backward(
    grad_spikes: Tensor,
    gap: Tensor,
    *,
    scale: float,
    decay: float,
    threshold: float,
    amount: float,
    to_zero: bool,
    detached: bool,
    surrogate: Surrogate | None,
    slope: Callable[[], Tensor],
) -> Tensor:
    """Go back through all steps.

    Args:
        grad_spikes: gradient of the loss by the spikes, (T, B, ...).
        gap: from :func:`forward`.
        scale: factor on the input.
        decay: of the membrane potential, after the reset.
        threshold: of firing.
        amount: what a soft reset subtracts.
        to_zero: hard reset.
        detached: no gradient through the reset.
        surrogate: the pseudo-derivative; those in ``SLOPES`` are computed on the way.
        slope: computes all others with torch, (T, B, ...), in float64 or else float32.

    Returns:
        The gradient by the input, in the dtype and memory format of ``gap``.
    """
    if grad_spikes.dtype != gap.dtype or grad_spikes.stride() != gap.stride():
        grad_spikes = torch.empty_like(gap).copy_(grad_spikes)
    known = SLOPES.get(type(surrogate))
    kind, steepness, peak = known(surrogate) if known is not None else (_GIVEN, 0.0, 0.0)
    given = slope() if kind == _GIVEN else None
    if given is not None and given.stride() != gap.stride():
        given = torch.empty_like(gap, dtype=given.dtype).copy_(given)
    out = torch.empty_like(gap)
    steps = gap.shape[0]
    _function("backward", gap.dtype)(
        *(grad_spikes.data_ptr(), gap.data_ptr(), 0 if given is None else given.data_ptr()),
        *(out.data_ptr(), steps, gap.numel() // steps, scale, decay, threshold, amount),
        *(to_zero, detached, kind, steepness, peak, _threads(gap)),
    )
    return out


def _threads(x: Tensor) -> int:
    return torch.get_num_threads() if x.numel() >= _WORTH_A_THREAD else 1


def _mode() -> str:
    mode = os.environ.get("PURESPIKE_KERNEL", "auto")
    if mode not in ("auto", "off", "require"):
        raise ConfigError(
            "unknown value of PURESPIKE_KERNEL",
            found=repr(mode),
            allowed="auto, off, require",
            where="the environment",
            remedy="unset it: 'auto' uses the fast kernel where it can be built",
        )
    return mode


@cache
def _library(mode: str) -> ctypes.CDLL | str:
    """The compiled kernel, or why there is none."""
    if mode == "off":
        return "PURESPIKE_KERNEL=off"
    try:
        return ctypes.CDLL(str(_built()))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        reason = str(error) or type(error).__name__
    if mode == "require":
        raise ConfigError(
            "the fast kernel of the neurons cannot be built",
            found=reason,
            allowed="a C++17 compiler with OpenMP, and a cache folder that can be written",
            where="PURESPIKE_KERNEL=require",
            remedy="install g++, set CXX or XDG_CACHE_HOME, or unset PURESPIKE_KERNEL",
        )
    return reason


def _built() -> Path:
    """Compile, unless it has been done; safe with any number of processes at once."""
    level = _LEVELS.get(torch.backends.cpu.get_cpu_capability(), ())
    flags = (*_FLAGS, *level)
    told = "\0".join([_SOURCE.read_text(), *flags, platform.system(), platform.machine()])
    key = hashlib.sha256(told.encode()).hexdigest()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "purespike"
    library = folder / f"neuron-{key[:24]}.so"
    if library.is_file():
        return library
    compiler = _compiler()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Built beside its place and moved there in one step: nobody loads half a file.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        fresh = Path(scratch) / library.name
        command = [*compiler, *flags, "-o", str(fresh), str(_SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{compiler[0]} failed: {done.stderr.strip()[-500:]}")
        os.replace(fresh, library)
    return library


def _compiler() -> list[str]:
    chosen = shlex.split(os.environ.get("CXX", ""))  # may have arguments: "ccache g++"
    for command in [chosen] if chosen else [["g++"], ["clang++"], ["c++"]]:
        if shutil.which(command[0]):
            return command
    raise RuntimeError("no C++ compiler found")


@cache
def _function(name: str, dtype: torch.dtype) -> Callable[..., int]:
    library = _library(_mode())
    if isinstance(library, str):
        raise ConfigError("the fast kernel is switched off", found=library)
    function: Any = library[f"{name}_{_DTYPES[dtype]}"]
    pointer, whole, real, flag = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_int
    if name == "forward":
        function.argtypes = [pointer, whole, *[pointer] * 2, *[whole] * 2, *[real] * 4, *[flag] * 2]
        function.restype = whole
    else:
        function.argtypes = [*[pointer] * 4, *[whole] * 2, *[real] * 4, *[flag] * 3]
        function.argtypes = [*function.argtypes, *[real] * 2, flag]
        function.restype = None
    return function  # type: ignore[no-any-return]
