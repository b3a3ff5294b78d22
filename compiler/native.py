"""Compiles the project's small C++ files where they first run, and loads them.

Plain C++ behind ``ctypes``, without foreign headers, so compiling takes seconds, once for each
machine and version, into ``$XDG_CACHE_HOME/purespike`` (by default ``~/.cache/purespike``). Without
a compiler or a folder to write to there is no native code, and nothing else changes: numpy or torch
compute the same, only slower.

``PURESPIKE_KERNEL`` in the environment: ``auto`` (the default), ``off``, or ``require`` to stop
with the reason where native code cannot be had. ``ATEN_CPU_CAPABILITY`` (``default``, ``avx2``),
which limits the instructions that torch uses, limits ours, too.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from purespike.compiler.errors import PurespikeError
from purespike.compiler.scratch import scratch_folder

VARIABLE = "PURESPIKE_KERNEL"  # in the environment
# Named levels, not -march=native: a cache may be shared by machines that differ.
_LEVELS = {
    "AVX512": (
        ("-march=x86-64-v4",),
        {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl", "avx2", "fma", "bmi2"},
    ),
    "AVX2": (("-march=x86-64-v3",), {"avx2", "fma", "bmi1", "bmi2", "f16c", "movbe", "abm"}),
}


class KernelError(PurespikeError):
    """Native code that was demanded and cannot be had."""


def mode() -> str:
    """What ``PURESPIKE_KERNEL`` says: auto, off or require.

    Raises:
        KernelError: If it says anything else.
    """
    said = os.environ.get(VARIABLE, "auto")
    if said not in ("auto", "off", "require"):
        raise KernelError(
            f"unknown value of {VARIABLE}",
            found=repr(said),
            allowed="auto, off, require",
            where="the environment",
            remedy="unset it: 'auto' uses native code where it can be built",
        )
    return said


def library(source: Path, flags: tuple[str, ...], what: str) -> ctypes.CDLL | str:
    """The compiled file, or why there is none.

    Args:
        source: One C++ file; it includes the standard library and headers of its own that it names.
        flags: For the compiler, beside the level of the processor.
        what: Stands in the error, such as "the kernel of the neurons".

    Raises:
        KernelError: If ``PURESPIKE_KERNEL`` is not a known value, or is ``require`` in vain.
    """
    said = mode()
    if said == "off":
        return f"{VARIABLE}=off"
    found = _loaded(source, flags)
    if isinstance(found, str) and said == "require":
        raise KernelError(
            f"{what} cannot be built",
            found=found,
            allowed="a C++17 compiler, and a cache folder that can be written",
            where=f"{VARIABLE}=require",
            remedy=f"install g++, set CXX or XDG_CACHE_HOME, or unset {VARIABLE}",
        )
    return found


@cache
def level() -> str:
    """What the processor has, and torch's limit allows: AVX512, AVX2, or the empty string."""
    limit = os.environ.get("ATEN_CPU_CAPABILITY", "").lower()
    if platform.machine() not in ("x86_64", "AMD64") or limit == "default":
        return ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    has = set(next((s for s in lines if s.startswith("flags")), "").split())
    names = [n for n in _LEVELS if not (limit == "avx2" and n == "AVX512")]
    return next((n for n in names if _LEVELS[n][1] <= has), "")


@cache
def _loaded(source: Path, flags: tuple[str, ...]) -> ctypes.CDLL | str:
    try:
        return ctypes.CDLL(str(_built(source, flags)))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return str(error) or type(error).__name__


def _built(source: Path, flags: tuple[str, ...]) -> Path:
    """Compile, unless it has been done; of any number of processes at once, one does it."""
    flags = (*flags, *(_LEVELS[level()][0] if level() else ()))
    told = "\0".join([*_texts(source), *flags, platform.system(), platform.machine()])
    key = hashlib.sha256(told.encode()).hexdigest()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "purespike"
    built = folder / f"{source.stem}-{key[:24]}.so"
    if built.is_file():
        return built
    compiler = _compiler()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Built beside its place and moved there in one step: nobody loads half a file.
    with _one_at_a_time(folder), scratch_folder(folder) as scratch:
        if built.is_file():  # by the process that had the lock
            return built
        fresh = scratch / built.name
        command = [*compiler, *flags, "-o", str(fresh), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{compiler[0]} failed: {done.stderr.strip()[-500:]}")
        os.replace(fresh, built)
    return built


def _texts(source: Path) -> list[str]:
    """A source file and the headers of ours that it includes; nothing else lies in our hands."""
    texts: dict[Path, str] = {}
    waiting = [source]
    while waiting:
        file = waiting.pop()
        if file not in texts:
            texts[file] = file.read_text(encoding="utf-8")
            found = re.findall(r'^\s*#\s*include\s*"([^"]+)"', texts[file], re.MULTILINE)
            waiting += [(file.parent / name).resolve() for name in found]
    return list(texts.values())


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """A lock on the folder, which ends with its process; where none can be had, all go on."""
    place = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(place, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):  # a process that was forked meanwhile has the lock, too
            fcntl.flock(place, fcntl.LOCK_UN)
        os.close(place)


def _compiler() -> list[str]:
    chosen = shlex.split(os.environ.get("CXX", ""))  # may have arguments: "ccache g++"
    for command in [chosen] if chosen else [["g++"], ["clang++"], ["c++"]]:
        if shutil.which(command[0]):
            return command
    raise RuntimeError("no C++ compiler found")
