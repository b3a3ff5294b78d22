"""Commands where there is no network, and with a home that has to stay as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from helpers.user_files import foreign

import purespike.targets.cpu.library as cpu
import purespike.targets.real.run as real

ROOT = Path(__file__).parents[1]
STATED = "--dt 1e-3 --if-r step --reset zero --steps 6 --fires at --spike-input"
ALONE = ("unshare", "-rn", "--")
# What docs/confidential.md says of packages, beside our own native code.
CACHES = (".cache/purespike/*.so", ".cache/matplotlib/fontlist-*.json")
TORCH = "torchinductor_*"  # an empty folder
Run = Callable[..., str]


def files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, by path."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with a file in it, beside folders for temporary files and for work."""
    if subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip("no right to make a network namespace")
    for name in ("home", "tmp", "work"):
        (tmp_path / name).mkdir()
    foreign(tmp_path / "work" / "user.nir")
    (tmp_path / "home" / "mine.txt").write_text("mine")
    return tmp_path / "home"


@pytest.fixture
def run(home: Path) -> Run:
    """Runs a command, or a module, without a route; its code is held to, and that it wrote these.

    Nothing else may change: not the home but for the stated cache, not TMPDIR, not the folder of
    the work.
    """
    work, temporary = home.parent / "work", home.parent / "tmp"
    routes = subprocess.run([*ALONE, "cat", "/proc/net/route"], capture_output=True, text=True)
    assert len(routes.stdout.splitlines()) <= 1  # there is no way out
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "PYTEST"))}
    clean |= {"HOME": str(home), "TMPDIR": str(temporary)}

    def runs(words: str, *outputs: str, code: int = 0, program: str = "purespike") -> str:
        before = files(work)
        command = [*ALONE, sys.executable, "-B", "-m", program, *words.split()]
        done = subprocess.run(command, cwd=work, env=clean, capture_output=True, text=True)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        now = files(work)
        ours = {name for name in now if name.partition("/")[0] in outputs}
        assert all(any(name.startswith(o) for name in ours) for o in outputs), (words, outputs)
        assert {n: now[n] for n in set(now) - ours} == {n: before[n] for n in set(before) - ours}
        left = [p for p in temporary.rglob("*") if p.is_file() or not fnmatch(p.name, TORCH)]
        assert not left, words
        kept = files(home)
        cache = {n for n in kept if any(fnmatch(n, stated) for stated in CACHES)}
        assert {n: kept[n] for n in set(kept) - cache} == {"mine.txt": b"mine"}, words
        return done.stdout

    return runs


def keep_kernels(home: Path) -> None:
    """Of an earlier command: a compiler takes ten seconds."""
    kept = home / ".cache" / "purespike"
    kept.mkdir(parents=True)
    for library in (cpu.kernels(), real.kernel()):
        if not isinstance(library, str):
            shutil.copy(library._name, kept)


def test_commands_need_no_network_and_leave_the_home_alone(home: Path, run: Run) -> None:
    keep_kernels(home)
    compile_and_judge(run)


@pytest.mark.slow
def test_the_first_commands_of_a_home_leave_native_code_in_its_cache(home: Path, run: Run) -> None:
    compile_and_judge(run)
    assert any(home.rglob("*.so")) or isinstance(cpu.kernels(), str)


def compile_and_judge(run: Run) -> None:
    said = run(f"compile user.nir {STATED} --lava none --out b", "b", code=1)
    assert "Bundle: b" in said  # no labels, no Lava: not proved
    run("verify b --no-lava")
    run("report b --format html --out r.html", "r.html")


@pytest.fixture
def data(home: Path) -> str:
    """A test set for the network, and the native code that it runs on."""
    keep_kernels(home)
    x = (np.random.default_rng(0).random((6, 9, 2)) < 0.5).astype(np.uint8)
    np.savez(home.parent / "work" / "d.npz", inputs=x, labels=np.arange(9) % 3)
    return "d.npz"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nor_does_lava(data: str, run: Run) -> None:
    run(f"compile user.nir {STATED} --data {data} --out b", "b")
    run("verify b")  # Lava's processes speak over sockets in TMPDIR
    run("simulate b")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nor_does_what_is_done_with_a_bundle(data: str, run: Run) -> None:
    run(f"compile user.nir {STATED} --data {data} --lava none --out b", "b", code=1)
    run(f"simulate b --data {data} --backend cpu")
    run(f"simulate b --data {data} --backend onnx --jobs 2 --shards s", "s")
    run("replay b")
    run("check b --static")
    run("map b")
    run("diff b b --fail-on findings")
    run("export b --to c --out c", "c")
    run("report b --format sarif --out r.sarif", "r.sarif")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nor_does_a_training(home: Path, run: Run) -> None:
    keep_kernels(home)
    x = (np.random.default_rng(0).random((4, 40, 2, 8, 8)) < 0.5).astype(np.uint8)
    np.savez(home.parent / "work" / "d.npz", x_train=x, y_train=np.arange(40) % 3,
             x_test=x, y_test=np.arange(40) % 3)  # fmt: skip
    (home.parent / "work" / "small.toml").write_text(
        "model = {in_channels = 2, classes = 3, steps = 4, size = [8, 8], stem = 4, widths = [4], "
        "strides = [2]}\ndata = {file = 'd.npz'}\n"
    )
    run("train small.toml --epochs 1 --out t", "t")


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it runs the notebooks
def test_nor_does_the_build_of_the_docs_site(home: Path, run: Run) -> None:
    """As `make docs` builds it, strictly, with what that has installed."""
    for package in ("material", "mkdocstrings"):
        pytest.importorskip(package, reason="`make docs` installs mkdocs-material, mkdocstrings")
    keep_kernels(home)
    work = home.parent / "work"
    shutil.copy(ROOT / "mkdocs.yml", work)
    (work / "docs").symlink_to(ROOT / "docs")
    laid_out = work / ".links" / "purespike"  # as `make .links` does
    laid_out.mkdir(parents=True)
    rooms = [ROOT / name for name in ("trainer", "compiler", "targets")]
    for place in (*(ROOT / "src" / "purespike").iterdir(), *rooms):
        (laid_out / place.name).symlink_to(place)
    before = files(ROOT / "docs")
    run("build --strict", "site", program="mkdocs")
    assert files(ROOT / "docs") == before
    built = {p.relative_to(work / "site").with_suffix(".md") for p in work.rglob("site/**/*.html")}
    written = {p.relative_to(ROOT / "docs") for p in (ROOT / "docs").rglob("*.md")}
    assert written <= built
    page = (work / "site" / "reference.html").read_text(encoding="utf-8")
    assert "open_bundle" in page  # from the docstrings
