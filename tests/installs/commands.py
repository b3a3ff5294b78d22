"""What works, and what is said, where packages are really missing: run by the wheel's own Python.

``ENV/bin/python tests/installs/commands.py core|lava`` runs the commands of that environment on a
NIR file that it writes; every answer is one of these: it works, or one line says what to install.
Nothing but the core's own packages is imported here.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # no package of the environment is hidden by it
from helpers.user_files import foreign

COMMAND = Path(sys.executable).with_name("purespike")
STATED = [
    "--dt",
    "1e-3",
    "--if-r",
    "step",
    "--reset",
    "zero",
    "--steps",
    "6",
    "--spike-input",
    "--fires",
    "at",
]
# By command: what brings the package that it lacks.
WITHOUT_TORCH = {
    ("train",): "purespike[train]",
    ("demo",): "purespike[train]",
    ("scan", "digits"): "purespike[report]",
    ("plot", "x"): "purespike[report]",
    ("compile", "json:loads", "--shape", "2", "--steps", "4"): "purespike[torch]",
    ("compile", "program.pt2"): "purespike[torch]",
    ("compile", "checkpoint"): "purespike[torch]",
    ("check", "json:loads", "--shape", "2", "--steps", "4"): "purespike[torch]",
}


def run(*words: str, code: int, said: str = "") -> str:
    """Run a command and hold it to its exit code and a part of its words."""
    began = time.monotonic()
    done = subprocess.run(
        [str(COMMAND), *words],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "200"},
    )
    text = " ".join((done.stdout + done.stderr).split())
    print(f"{time.monotonic() - began:5.1f} s  {done.returncode}  purespike {' '.join(words)[:90]}")
    if done.returncode != code or said not in text or "Traceback" in text or "internal" in text:
        sys.exit(f"expected {code} and {said!r}:\n{done.stdout}\n{done.stderr}")
    return text


def main(kind: str) -> None:
    """Every command on a real file, then each that lacks a package."""
    for gone in ("torch", "lightning", "sklearn", *(() if kind == "lava" else ("lava", "scipy"))):
        if importlib.util.find_spec(gone):
            sys.exit(f"{gone} is installed: this is not the environment that is meant")
    foreign(Path("user.nir"))
    x = (np.random.default_rng(0).random((6, 40, 2)) < 0.5).astype(np.uint8)
    np.savez("test.npz", inputs=x, labels=np.arange(40) % 3)
    lava, none = ((), ("--no-lava",)) if kind == "lava" else (("--lava", "none"), ("--no-lava",))
    open_ = (
        "not run PS012" if kind == "lava" else "not run PS010"
    )  # there are no labels, and no Lava
    run("--version", code=0)
    run("doctor", code=0, said="purespike[torch]")
    run("check", "user.nir", *STATED, "--static", code=1, said="is not in integers")
    run("compile", "user.nir", *STATED, *lava, "--onnx", "qonnx", "--netx", "--out", "b",
        code=1, said=open_)  # fmt: skip
    run("check", "b", "--static", code=0, said="every static rule holds")
    for file, more in (("model.nir", ()), ("model.onnx", ())):
        run("check", f"b/{file}", "--static", *more, code=0, said="every static rule holds")
    netx = ("--steps", "6", "--dt", "1e-3")
    run("check", "b/model.net", "--static", *netx, code=0, said="every static rule holds")
    run("verify", "b", *none, code=0, said="all bit for bit equal")
    run("replay", "b", code=0, said="equal bit for bit")
    run("simulate", "b", "--data", "test.npz", "--backend", "cpu", code=0, said="40 samples")
    run("simulate", "b", "--data", "test.npz", "--backend", "onnx", code=0, said="40 samples")
    for format_ in ("html", "sarif", "junit", "markdown", "json", "text"):
        run("report", "b", "--format", format_, "--out", f"report.{format_}", code=0)
    run("report", "--schema", code=0)
    run("diff", "b", "b", "--fail-on", "findings", code=0, said="gates held")
    run("map", "b", code=0)
    run("export", "b", "--out", "c", code=0, said="Program: c")
    run("policy", "show", code=0)
    run("rule", "PS005", code=0, said="# PS005: no multiplication")
    if kind == "lava":
        run("simulate", "b", code=0, said="ms per step")
        run("verify", "b", code=0, said="all bit for bit equal")
    else:
        run("simulate", "b", code=2, said="lava-nc")
        run("verify", "b", code=1, said="lava-nc")
    run("simulate", "b", "--data", "test.npz", "--scheduler", "127.0.0.1:1", code=2,
        said="purespike[dask]")  # fmt: skip
    Path("program.pt2").write_bytes(b"PK")
    Path("checkpoint").mkdir()
    Path("checkpoint", "checkpoint.json").write_text("{}")
    for words, package in WITHOUT_TORCH.items():
        run(*words, code=2, said=f"pip install '{package}'")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main(sys.argv[1])
