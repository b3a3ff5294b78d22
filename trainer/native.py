"""The one small C++ file of the trainer, compiled where it first runs on a CPU.

It is plain C++ behind ``ctypes``, without torch's headers, so compiling takes a few seconds, once
for each machine and version, into ``$XDG_CACHE_HOME/purespike`` (by default
``~/.cache/purespike``). Without a compiler, OpenMP or a folder to write to there is no fast path,
and nothing else changes: torch operations compute the same, rounding by rounding.

``PURESPIKE_KERNEL`` in the environment: ``auto`` (the default), ``off``, or ``require`` to stop
with the reason where the fast path cannot be had.
"""

from __future__ import annotations

import ctypes
import hashlib
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

__all__ = ["VARIABLE", "available", "function", "threads", "usable"]

VARIABLE = "PURESPIKE_KERNEL"  # in the environment

_SOURCE = Path(__file__).with_name("kernel.cpp")
# No contraction and no -ffast-math: the roundings are part of the meaning.
_FLAGS = (
    *("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"),
    *("-fopenmp", "-fPIC", "-shared"),
)
# Named levels, not -march=native: a cache may be shared by machines that differ.
_LEVELS = {"AVX512": ("-march=x86-64-v4",), "AVX2": ("-march=x86-64-v3",)}
_DTYPES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16"}
_WORTH_A_THREAD = 1 << 15  # elements
_POINTER, _WHOLE, _REAL, _FLAG = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_int
_SIGNATURES: dict[str, tuple[list[Any], Any]] = {
    "forward": (
        [_POINTER, _WHOLE, *[_POINTER] * 2, *[_WHOLE] * 2, *[_REAL] * 4, *[_FLAG] * 2],
        _WHOLE,
    ),
    "backward": (
        [*[_POINTER] * 4, *[_WHOLE] * 2, *[_REAL] * 4, *[_FLAG] * 4, *[_REAL] * 2, _FLAG],
        None,
    ),
    "halve": ([*[_POINTER] * 2, *[_WHOLE] * 3, _FLAG], None),
    "spread": ([*[_POINTER] * 2, *[_WHOLE] * 3, _FLAG], None),
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


@cache
def function(name: str, dtype: torch.dtype) -> Callable[..., int]:
    """One of the functions of ``kernel.cpp``, for tensors that :func:`usable` takes."""
    library = _library(_mode())
    if isinstance(library, str):
        raise ConfigError("the fast kernel is switched off", found=library)
    found: Any = library[f"{name}_{_DTYPES[dtype]}"]
    found.argtypes, found.restype = _SIGNATURES[name]
    return found  # type: ignore[no-any-return]


def threads(x: Tensor) -> int:
    """How many threads a tensor is worth."""
    return torch.get_num_threads() if x.numel() >= _WORTH_A_THREAD else 1


def _mode() -> str:
    mode = os.environ.get(VARIABLE, "auto")
    if mode not in ("auto", "off", "require"):
        raise ConfigError(
            f"unknown value of {VARIABLE}",
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
        return f"{VARIABLE}=off"
    try:
        return ctypes.CDLL(str(_built()))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        reason = str(error) or type(error).__name__
    if mode == "require":
        raise ConfigError(
            "the fast kernel of the neurons cannot be built",
            found=reason,
            allowed="a C++17 compiler with OpenMP, and a cache folder that can be written",
            where=f"{VARIABLE}=require",
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
