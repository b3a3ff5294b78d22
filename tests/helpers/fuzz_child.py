"""Reads changed files of a format and says what came of it: run as a process of its own.

``fuzz_child.py FORMAT[,FORMAT...] SEED COUNT FOLDER`` prints one JSON object. Before it reads a
file it puts it at FOLDER/last, so that whoever started it knows which one ended it. What raises
anything but an error of purespike, takes too long or too much memory is kept as FOLDER/found-*.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.fuzz_formats import FORMATS
from helpers.fuzz_mutations import in_bytes
from purespike.compiler.errors import PurespikeError

SECONDS = 60  # for one file, on a busy machine
ROOM, FACTOR = 96 << 20, 1100  # bytes, and per byte of the file: zip packs 1032 to 1
ADDRESSES = 4 << 30  # bytes beyond what is mapped at the start


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) << 10
    return 0


class TooSlow(BaseException):
    """A file took more than its seconds."""


def _slow(*_: object) -> None:
    raise TooSlow


def main(name: str, seed: int, count: int, folder: Path) -> dict[str, object]:
    """Read ``count`` changed files."""
    form = FORMATS[name]
    goods = [p.read_bytes() for p in form.goods(folder)]
    last = folder / f"last{form.suffix}"
    for good in goods:
        last.write_bytes(good)
        form.read(last)  # whole, it can be read; and everything is loaded
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") + ADDRESSES, hard))
    signal.signal(signal.SIGALRM, _slow)
    r = random.Random(seed)
    seen = {"read": 0, "refused": 0, "bytes": 0, "peak": 0, "seconds": 0.0}
    found: list[str] = []
    for k in range(count):
        mutate = form.inside if r.random() < 0.5 else in_bytes
        content = mutate(r.choice(goods), r)
        last.write_bytes(content)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before, began, wrong = _status("VmRSS"), time.monotonic(), ""
        signal.alarm(SECONDS)
        try:
            form.read(last)
            seen["read"] += 1
        except PurespikeError as e:
            seen["refused"] += 1
            if not (e.message and e.text("command line")):
                wrong = f"an error without words: {e!r}"
        except TooSlow:
            wrong = f"more than {SECONDS} s"
        except Exception as e:
            place = traceback.extract_tb(e.__traceback__)[-1]
            ours = [f for f in traceback.extract_tb(e.__traceback__) if "purespike" in f.filename
                    or "/compiler/" in f.filename or "/targets/" in f.filename
                    or "/trainer/" in f.filename]  # fmt: skip
            where = ours[-1] if ours else place
            wrong = f"{type(e).__name__} at {where.filename}:{where.lineno}: {str(e)[:120]}"
        finally:
            signal.alarm(0)
        grown = max(0, _status("VmHWM") - before)
        if grown > ROOM + FACTOR * len(content):
            wrong = wrong or f"{grown >> 20} MiB for a file of {len(content)} bytes"
        seen["bytes"] += len(content)
        seen["peak"] = max(seen["peak"], grown)
        seen["seconds"] = max(seen["seconds"], round(time.monotonic() - began, 2))
        if wrong:
            kept = folder / f"found-{name}-{seed}-{k}{form.suffix}"
            kept.write_bytes(content)
            found.append(f"{kept}: {wrong}")
    return {**seen, "found": found}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    names, seed, count, folder = sys.argv[1:]
    done = {n: main(n, int(seed), int(count), Path(folder)) for n in names.split(",")}
    print(json.dumps(done))
