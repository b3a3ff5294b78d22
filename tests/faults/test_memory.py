"""Too little memory, in Python, in C and in Lava's processes: one error, and nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import nir
import numpy as np
import pytest
from helpers.fault_cases import leftovers, processes, shared_memory
from helpers.process_tools import eventually

from purespike.compiler.memory import LEAST, ran_out, said

MIB, WIDE, STEPS = 1 << 20, 2000, 300
STATED = f"--dt 1e-3 --if-r step --reset zero --steps {STEPS} --fires at --spike-input --lava none"


def ran(
    folder: Path, *words: str, mib: int = 0, program: tuple[str, ...] = ("-m", "purespike")
) -> tuple[int, str]:
    """Exit code and text of a command that may have so much address space; 0 for all."""
    (folder / "tmp").mkdir(exist_ok=True)
    limit = ["prlimit", f"--as={mib * MIB}"] if mib else []
    process = subprocess.Popen(
        [*limit, sys.executable, *program, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # Large arrays always ask for pages: what was freed before may not serve them.
        env=os.environ
        | {"TMPDIR": str(folder / "tmp"), "COLUMNS": "200", "MALLOC_MMAP_THRESHOLD_": "65536"},
    )
    text, _ = process.communicate(timeout=250)
    assert eventually(lambda: not processes(folder), 30), processes(folder)
    assert not shared_memory({process.pid}), text
    assert not leftovers(folder), leftovers(folder)
    return process.returncode, text


def require_one_error(code: int, text: str) -> None:
    assert code == 2, text
    assert text.count("error:") == 1 and "Traceback" not in text, text
    assert "too little memory" in text, text


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a layer whose spikes and membranes take many times what loading takes."""
    folder = tmp_path_factory.mktemp("wide")
    r = np.random.default_rng(3)
    layers = {
        "in": nir.Input(np.array([2])),
        "w": nir.Affine(r.uniform(-1, 1, (WIDE, 2)), np.zeros(WIDE)),
        "hidden": nir.IF(np.ones(WIDE), np.ones(WIDE)),
        "v": nir.Affine(r.uniform(-1, 1, (3, WIDE)), np.zeros(3)),
        "if": nir.IF(np.ones(3), np.ones(3)),
        "out": nir.Output(np.array([3])),
    }
    nir.write(folder / "user.nir", nir.NIRGraph(layers, list(pairwise(layers))))
    x = (r.random((STEPS, 256, 2)) < 0.4).astype(np.uint8)
    np.savez(folder / "test.npz", inputs=x, labels=r.integers(0, 3, 256))
    options = [*STATED.split(), "--samples", "4"]
    code, text = ran(folder, "compile", "user.nir", *options, "--out", "bundle")
    assert code == 1, text  # its labels are not given: not proved
    return folder


@pytest.mark.slow
def test_simulating_a_test_set_with_too_little_memory_is_one_error(wide: Path) -> None:
    words = ("simulate", "bundle", "--data", "test.npz", "--shards", "parts", "-q")
    for mib in (LEAST // MIB, LEAST // MIB + 50):
        code, text = ran(wide, *words, mib=mib)
        require_one_error(code, text)
        assert "--samples N" in text and "--jobs N" in text, text
        assert f"at most {mib} MiB of address space" in text, text
        assert {p.name for p in wide.glob("parts/*")} <= {"shards.json"}
    code, text = ran(wide, *words)  # goes on
    assert code == 0, text


IN_C = """
import json, re, resource
import numpy as np
from purespike.targets.bundle.bundle import read_bundle
from purespike.targets.cpu.planner import plan
from purespike.targets.cpu.program import Program

x = np.load("test.npz")["inputs"]
program = Program(plan(read_bundle("bundle").graph), x.shape[1], set(), None, None)
size = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read())[1]) << 10
found = []
for room in (0, 256, None):
    most = resource.RLIM_INFINITY if room is None else size + (room << 10)
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
    try:
        program.run([x])
        found.append("ran")
    except MemoryError as e:
        found.append(str(e))
print(json.dumps([found, float(program.spikes("hidden").mean())]))
"""


@pytest.mark.slow
def test_the_kernel_that_gets_no_memory_says_so_and_runs_again(wide: Path) -> None:
    code, text = ran(wide, program=("-c", IN_C))
    assert code == 0, text
    found, rate = json.loads(text)
    words = f"the cpu executor, for 256 samples of {STEPS} steps"
    assert found == [words, words, "ran"], found
    code, text = ran(wide, "simulate", "bundle", "--data", "test.npz", "--json")
    assert code == 0 and rate == json.loads(text)["rates"]["hidden"], text


@pytest.mark.slow
@pytest.mark.parametrize("mib", [LEAST // MIB, 330, 420])
def test_lava_with_too_little_memory_is_one_error(mib: int, made: Path, tmp_path: Path) -> None:
    """Some sizes are enough where larger ones are not: glibc asks for more if it may."""
    code, text = ran(tmp_path, "simulate", str(made / "bundle"), "--samples", "2", "-q", mib=mib)
    if code == 0 and mib > LEAST // MIB:
        assert text == "EQUAL: lava/program.json on 2 golden samples\n"
        return
    require_one_error(code, text)
    assert "--samples N" in text, text


def test_a_limit_in_which_numpy_cannot_be_loaded_is_refused_at_once(tmp_path: Path) -> None:
    """Its OpenBLAS asked for room without end."""
    code, text = ran(tmp_path, "simulate", "x", mib=100)
    require_one_error(code, text)
    assert "100 MiB" in text and "at least 256 MiB" in text, text


def test_what_says_that_memory_ran_out() -> None:
    wrapped = ImportError("Error importing numpy")
    wrapped.__cause__ = ImportError("libx.so: failed to map segment: Cannot allocate memory")
    for error in (MemoryError(), OSError(12, "x"), RuntimeError("can't start new thread"), wrapped):
        assert ran_out(error), error
    for error in (
        RuntimeError("threads"),
        OSError(28, "x"),
        ImportError("No module named x"),
        None,
    ):
        assert not ran_out(error), error
    assert said("numpy._core._exceptions._ArrayMemoryError: Unable") and not said("memory")
