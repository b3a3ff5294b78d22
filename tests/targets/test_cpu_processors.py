"""The kernels of the cpu executor built by other compilers, and for other processors."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.cpu_cases import network
from helpers.cpu_image import Image

import purespike.targets.cpu.library as kernel_library
from purespike.targets.cpu.errors import CpuError
from purespike.targets.cpu.library import kernels
from purespike.targets.cpu.planner import plan
from purespike.targets.cpu.program import Program

TESTS = Path(__file__).parents[1]
KERNELS = Path(kernel_library.__file__).with_name("kernels")
SEEDS = range(60)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="flags of x86-64")
@pytest.mark.parametrize("level", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_source_is_complete_for_every_level(level: str) -> None:
    """Where it cannot be built, the portable fallback takes over and tells nobody."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        pytest.skip("no compiler")
    command = [compiler, *kernel_library._FLAGS, f"-march={level}", "-fsyntax-only"]
    subprocess.run([*command, KERNELS / "kernels.cpp"], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["", "avx2", "default"])
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_other_compilers_and_fewer_instructions(compiler: str, limit: str, tmp_path: Path) -> None:
    """All kinds of networks again: `test_networks_of_every_kind` and the tests of bounds."""
    if not shutil.which(compiler):
        pytest.skip(f"no {compiler}")
    env = {**os.environ, "CXX": compiler, "XDG_CACHE_HOME": str(tmp_path)}
    env |= {"ATEN_CPU_CAPABILITY": limit, "PURESPIKE_KERNEL": "require"}
    env = {k: v for k, v in env.items() if v and not k.startswith("PYTEST")}
    files = ["test_cpu.py::test_networks_of_every_kind", "test_cpu_bounds.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, *(str(TESTS / "targets" / f) for f in files)],
        env=env, capture_output=True, text=True, cwd=TESTS.parent, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert list((tmp_path / "purespike").glob("kernels-*.so"))


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """How to run a program image on an emulated 64-bit Arm processor with NEON."""
    if isinstance(kernels(), str):
        pytest.skip("no compiler for this processor")
    compiler, emulator = shutil.which("aarch64-linux-gnu-g++"), shutil.which("qemu-aarch64")
    if not compiler or not emulator:
        pytest.skip("no aarch64-linux-gnu-g++ or no qemu-aarch64")
    program = tmp_path_factory.mktemp("aarch64") / "emulated"
    flags = ["-std=c++17", "-O2", "-fwrapv", "-pthread", "-static", "-Wno-psabi", f"-I{KERNELS}"]
    source = TESTS / "helpers" / "cpu_emulated.cpp"
    subprocess.run([compiler, *flags, "-o", program, source], check=True)
    yield [emulator, str(program)]


@pytest.mark.slow
def test_neon_computes_the_same(emulated: list[str], tmp_path: Path) -> None:
    """Every bit of every buffer, and every membrane, of networks of all kinds."""
    assert sum(_same_on(emulated, seed, tmp_path / "image") for seed in SEEDS) > 50


def _same_on(emulated: list[str], seed: int, image: Path) -> bool:
    graph, x = network(seed)
    try:
        made = plan(graph)
    except CpuError:
        return False
    kept = {v.name for v in made.neurons()} if seed % 2 else set()
    program = Program(made, x.shape[1], kept, threads=1 + seed % 2, lookups=False)
    program._network.threads = 1 + seed % 2  # even for so little work
    program.run([x])
    results = [*program.bits[1:], *program.membranes.values(), *program.currents.values()]
    expected = [r.copy() for r in results]
    for r in results:  # nothing may be right because it was right before
        r[...] = 0
    for state, start in program._states:
        state.fill(start)
    sent = Image(program)
    image.write_bytes(bytes(sent))
    subprocess.run([*emulated, str(image)], check=True, timeout=120)
    memory = image.read_bytes()
    for want, r in zip(expected, results, strict=True):
        np.testing.assert_array_equal(sent.found(memory, r), want, err_msg=f"network {seed}")
    return True
