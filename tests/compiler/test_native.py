"""Processes that need the same native code at once: one compiles it, and the others wait for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from helpers.process_tools import eventually, started

from purespike.compiler import native

COMPILER = """#!/bin/sh
echo once >> "$(dirname "$0")/calls"
while [ $# -gt 0 ]; do [ "$1" = -o ] && out="$2"; shift; done
sleep 0.5
echo code > "$out"
"""
BUILD = """
import sys
from pathlib import Path
from purespike.compiler.native import _built
print(_built(Path(sys.argv[1]), ("-O3",)).read_text(), end="")
"""


def test_one_process_compiles_and_the_others_wait(tmp_path: Path) -> None:
    compiler, source = tmp_path / "compiler", tmp_path / "source.cpp"
    compiler.write_text(COMPILER)
    compiler.chmod(0o755)
    source.write_text("int main;")
    env = {**os.environ, "CXX": str(compiler), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", BUILD, str(source)]
    calls = tmp_path / "calls"
    with started(command, env=env) as killed:  # its lock must not stay
        assert eventually(calls.exists)
    assert killed.returncode < 0
    with ExitStack() as stack:
        how = {"stdout": subprocess.PIPE, "text": True, "env": env}
        running = [stack.enter_context(started(command, **how)) for _ in range(3)]
        assert [child.communicate(timeout=60)[0] for child in running] == ["code\n"] * 3
    assert calls.read_text().splitlines() == ["once"] * 2
    (built,) = (tmp_path / "cache" / "purespike").iterdir()  # nothing is left beside it
    assert built.name.startswith("source-") and built.suffix == ".so"


def test_what_is_compiled_anew_depends_on_included_headers_alone(tmp_path: Path) -> None:
    source, inner, outer = (tmp_path / n for n in ("a.cpp", "below/inner.h", "outer.h"))
    inner.parent.mkdir()
    source.write_text('#include <vector>\n#include "below/inner.h"\n')
    inner.write_text('# include "../outer.h"\n')
    outer.write_text('#include "below/inner.h"\n')  # which is read once
    before = native._texts(source)
    assert len(before) == 3
    (tmp_path / "other.h").symlink_to(tmp_path / "gone")  # another process's file, say
    assert native._texts(source) == before
    outer.write_text("int x;")
    assert native._texts(source) != before


def test_a_child_that_was_forked_meanwhile_holds_up_nobody(tmp_path: Path) -> None:
    with native._one_at_a_time(tmp_path):
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
    started = time.monotonic()
    try:
        with native._one_at_a_time(tmp_path):
            assert time.monotonic() - started < 30
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
