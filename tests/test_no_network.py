"""Commands where there is no network, and with a home that has to stay as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.user_files import foreign

import purespike.targets.cpu.library as cpu
import purespike.targets.real.run as real

STATED = "--dt 1e-3 --if-r step --reset zero --steps 6 --fires at --spike-input --lava none"
ALONE = ("unshare", "-n", "--")


def test_commands_need_no_network_and_leave_the_home_alone(tmp_path: Path) -> None:
    """With the native code of an earlier command, which takes a compiler ten seconds."""
    kept = tmp_path / "home" / ".cache" / "purespike"
    kept.mkdir(parents=True)
    for library in (cpu.kernels(), real.kernel()):
        if not isinstance(library, str):
            shutil.copy(library._name, kept)
    use_commands(tmp_path)


@pytest.mark.slow
def test_the_first_commands_of_a_home_leave_native_code_in_its_cache(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    use_commands(tmp_path)
    assert any((tmp_path / "home").rglob("*.so")) or isinstance(cpu.kernels(), str)


def use_commands(tmp_path: Path) -> None:
    if subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip("no right to make a network namespace")
    for name in ("tmp", "work"):
        (tmp_path / name).mkdir()
    foreign(tmp_path / "work" / "user.nir")
    (tmp_path / "home" / "mine.txt").write_text("mine")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "PYTEST"))}
    clean |= {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp")}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*ALONE, sys.executable, "-B", "-m", "purespike", *words]
        return subprocess.run(
            command, cwd=tmp_path / "work", env=clean, capture_output=True, text=True
        )

    routes = subprocess.run([*ALONE, "cat", "/proc/net/route"], capture_output=True, text=True)
    assert len(routes.stdout.splitlines()) <= 1  # there is no way out
    done = run("compile", "user.nir", *STATED.split(), "--out", "b")
    assert done.returncode == 1 and "Bundle: b" in done.stdout, done.stderr  # no labels, no Lava
    assert run("verify", "b", "--no-lava").returncode == 0
    assert run("report", "b", "--format", "html", "--out", "r.html").returncode == 0
    assert sorted(p.name for p in (tmp_path / "work").iterdir()) == ["b", "r.html", "user.nir"]
    assert not any((tmp_path / "tmp").iterdir())
    files = {
        p.relative_to(tmp_path / "home") for p in (tmp_path / "home").rglob("*") if p.is_file()
    }
    kernels = {p for p in files if p.parent == Path(".cache/purespike") and p.suffix == ".so"}
    assert files - kernels == {Path("mine.txt")}
