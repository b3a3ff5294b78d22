"""Reads changed files of a format and says what came of it: run as a process of its own.

``fuzz_child.py FORMAT[,FORMAT...] SEED COUNT FOLDER`` prints one JSON object. Before it reads a
file it puts it at FOLDER/last, so that whoever started it knows which one ended it. What raises
anything but an error of purespike, takes too long or too much memory is kept as FOLDER/found-*.
"""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.fuzz_formats import FORMATS, TORCH, Format
from helpers.fuzz_mutations import in_bytes
from purespike.compiler.errors import PurespikeError

SECONDS = 60  # for one file, on a busy machine
ROOM = 32 << 20  # bytes whatever the file's size; what a byte of it may take is the format's
ADDRESSES = 4 << 30  # bytes beyond what is mapped at the start


LEVELS = ("bytes", "structure")
OURS = ("purespike", "/compiler/", "/targets/", "/trainer/")


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) << 10
    return 0


class TooSlow(BaseException):
    """A file took more than its seconds."""


def _slow(*_: object) -> None:
    raise TooSlow


def _place(error: Exception) -> str:
    """The line of this project that an error came from, else the line that raised it."""
    lines = traceback.extract_tb(error.__traceback__)
    ours = [f for f in lines if any(n in f.filename for n in OURS)]
    last = (ours or lines)[-1]
    return f"{last.filename}:{last.lineno}"


def ran_out(error: BaseException | None) -> bool:
    """Is it the limit of this process that ended the reader, and none of its own?"""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _root(error: BaseException) -> tuple[str, str]:
    """What a reader found wrong: the line that raised first, and how its words begin.

    Readers that take every kind of damage for one error differ in its cause only.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    last = traceback.extract_tb(error.__traceback__)[-1]
    said = error.found if isinstance(error, PurespikeError) else str(error)
    return f"{last.filename}:{last.lineno}", " ".join(str(said).split()[:3])


def _one(form: Format, path: Path, reasons: set[tuple[str, ...]]) -> tuple[str, str]:
    """Read a file: how it ended, and what was wrong with that; why joins ``reasons``."""
    signal.alarm(SECONDS)
    try:
        form.read(path)
        return "read", ""
    except PurespikeError as e:
        reasons.add((e.message, *_root(e)))
        if not (e.message and e.text("command line")):
            return "wrong", f"an error without words: {e!r}"
        if ran_out(e):
            return "wrong", f"asked for more than {ADDRESSES >> 30} GiB: {e.found[:120]}"
        return "refused", ""
    except TooSlow:
        return "wrong", f"more than {SECONDS} s"
    except Exception as e:
        return "wrong", f"{type(e).__name__} at {_place(e)}: {str(e)[:120]}"
    finally:
        signal.alarm(0)


def _held(temporary: Path) -> tuple[int, list[str]]:
    """What a reader could leave behind: open files, and files in TMPDIR."""
    return len(os.listdir("/proc/self/fd")), sorted(os.listdir(temporary))


def main(name: str, seed: int, count: int, folder: Path) -> dict[str, object]:
    """Read ``count`` changed files, half of them changed in their bytes.

    Returns:
        Of each level how many files and bytes were read through, how many files were "read" and
        "refused" for how many different reasons, the most memory and seconds that one took;
        what was "found"; and the largest of the processes that the reader started, in bytes.
    """
    form = FORMATS[name]
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    tempfile.tempdir = str(temporary)
    if name in TORCH:  # the same weights, and so the same files, each time
        import torch

        torch.manual_seed(0)
    goods = [p.read_bytes() for p in form.goods(folder)]
    last = folder / f"last{form.suffix}"
    for good in goods:
        last.write_bytes(good)
        form.read(last)  # whole, it can be read; and everything is loaded
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + ADDRESSES, hard))
    signal.signal(signal.SIGALRM, _slow)
    r = random.Random(seed)
    none = {"files": 0, "bytes": 0, "read": 0, "refused": 0, "wrong": 0, "peak": 0, "seconds": 0.0}
    seen = {level: dict(none) for level in LEVELS}
    found: list[str] = []
    reasons: dict[str, set[tuple[str, ...]]] = {level: set() for level in LEVELS}
    before = _held(temporary)
    for k in range(count):
        level = LEVELS[r.random() < 0.5]
        content = (form.inside if level == "structure" else in_bytes)(r.choice(goods), r)
        last.write_bytes(content)
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        rss, began = _status("VmRSS"), time.process_time()
        end, wrong = _one(form, last, reasons[level])
        grown = max(0, _status("VmHWM") - rss)
        if grown > ROOM + form.times * len(content):
            wrong = wrong or f"{grown >> 20} MiB for a file of {len(content)} bytes"
        if (now := _held(temporary)) != before:
            wrong = wrong or f"left behind: {before} became {now}"
            before = now
        here = seen[level]
        here["files"] += 1
        here[end] += 1
        here["bytes"] += len(content)
        here["peak"] = max(here["peak"], grown)
        here["seconds"] = max(here["seconds"], round(time.process_time() - began, 2))
        if wrong:
            kept = folder / f"found-{name}-{seed}-{k}{form.suffix}"
            kept.write_bytes(content)
            found.append(f"{kept}: {wrong}")
    for level in LEVELS:
        seen[level]["reasons"] = len(reasons[level])
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10
    return {**seen, "found": found, "child": child}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    names, seed, count, folder = sys.argv[1:]
    done = {n: main(n, int(seed), int(count), Path(folder)) for n in names.split(",")}
    print(json.dumps(done))
