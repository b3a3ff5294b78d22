"""Every place that opens a file is known: what a user names is read through `files.reading`.

A new reader fails here until it goes that way, or stands below with the reason why it need not.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("src/purespike", "trainer", "compiler", "targets")

# What opens or parses a file: a method or function by the end of its dotted name.
OPENS = {
    "open", "read_text", "read_bytes", "fromfile", "loadtxt", "genfromtxt", "memmap",
    "load_file", "safe_open", "ZipFile", "File", "FromString", "ParseFromString",
}  # fmt: skip
# Those of which only one module's is meant.
QUALIFIED = {
    "np.load", "numpy.load", "torch.load", "onnx.load", "onnx.load_model", "nir.read", "json.load",
    "tomllib.load", "pickle.load", "pickle.loads", "torch.jit.load", "torch.export.load",
    "onnx.load_from_string", "gzip.open", "os.open", "scipy.io.loadmat",
}  # fmt: skip
GUARD = "compiler/files/reading.py"

# By file: what it opens without the guard, and why that is no file of a user's, or guarded.
SHIPPED = "part of the installed package"
PARENT = "written by the parent for this worker"
ALONE = "stands alone in a bundle; `replay_rows` looks at the files before"
MAPPED = "a file of this program, mapped into memory"
MADE = "written by this program a moment before, in a folder of its own"
WRITES = "opened to be written"
HELD = "the bytes of a file that the guard opened"
SYSTEM = "the system's own file"
KNOWN: dict[str, dict[str, str]] = {
    "compiler/files/archives.py": {"ZipFile": HELD, "np.load": HELD, "open": HELD},
    "compiler/files/kinds.py": {"read_bytes": "a regular file of at most 16 MiB, seen before"},
    "compiler/files/outputs.py": {"open": "hashed block by block, never held"},
    "compiler/files/writing.py": {
        "open": WRITES,
        "read_text": MADE,
        "os.open": "a folder to lock, nothing is read",
    },
    "compiler/native.py": {"read_text": f"{SYSTEM}, and {SHIPPED}", "os.open": WRITES},
    "compiler/report/page/page.py": {"read_text": SHIPPED},
    "compiler/rules/pages.py": {"read_text": SHIPPED},
    "compiler/rules/policy.py": {"read_text": SHIPPED},
    "compiler/scratch.py": {"os.open": "a lock, nothing is read"},
    "src/purespike/cli/app.py": {"os.open": "the null device"},
    "src/purespike/cli/commands/execute.py": {
        "read_bytes": "model.onnx of a bundle whose hashes were checked, held once",
    },
    "src/purespike/cli/commands/new.py": {"read_text": SHIPPED},
    "src/purespike/flow/inputs/datafile.py": {"ZipFile": HELD, "open": HELD},
    "src/purespike/flow/shards.py": {"pickle.loads": "made by the process that gave the task"},
    "src/purespike/flow/testset.py": {"open": "hashed block by block, never held"},
    "src/purespike/judge/bundle/consistency.py": {
        "read_bytes": "a file of a bundle whose hashes were checked, held once to compare bytes"
    },
    "src/purespike/judge/bundle/contents.py": {
        "read_bytes": "a file of a bundle whose hashes were checked, held once to compare bytes"
    },
    "targets/bundle/bundle.py": {"ZipFile": WRITES, "open": WRITES},
    "targets/bundle/golden_network.py": {
        "ZipFile": HELD,
        "json.load": HELD,
        "read_bytes": SHIPPED,
    },
    "targets/bundle/manifest.py": {"open": "hashed block by block, never held"},
    "targets/bundle/naming.py": {"ZipFile": HELD},
    "targets/bundle/replay.py": dict.fromkeys(("read_text", "read_bytes", "np.load"), ALONE),
    "targets/c/emit.py": {"read_text": SHIPPED},
    "targets/c/run.py": {"fromfile": MADE},
    "targets/fidelity/table.py": {"read_bytes": SHIPPED},
    "targets/lava/lower/script.py": {"read_bytes": MADE},
    "targets/lava/program/file.py": {
        "np.load": "the frames of a source, mapped into memory and not read"
    },
    "targets/lava/run/cluster.py": {"read_bytes": MADE},
    "targets/lava/run/guard.py": {"read_text": MADE, "np.load": MADE, "open": WRITES,
                                  "read_bytes": MADE, "memmap": MAPPED},
    "targets/lava/run/recordings.py": {"open": MADE, "memmap": MAPPED},
    "targets/lava/worker/build.py": dict.fromkeys(("open", "json.load", "np.load"), PARENT),
    "targets/lava/worker/main.py": {"open": WRITES},
    "targets/lava/worker/processes/file_source.py": {"np.load": PARENT},
    "targets/lava/worker/processes/recorder.py": {"np.load": MAPPED, "memmap": MAPPED},
    "targets/lava/worker/session.py": {"open": SYSTEM},
    "targets/netx/document.py": {"File": WRITES},
    "targets/nir/guard/guard.py": {"open": "opened and closed: may it be read at all?"},
    "targets/nir/guard/hdf5.py": {"File": "the child process with limits, which this guard starts"},
    "targets/onnx/read.py": {"ParseFromString": HELD},
    "trainer/capture/archive.py": {"ZipFile": HELD},
    "trainer/data/digits.py": {"gzip.open": SHIPPED},
    "trainer/data/imagenet.py": {"open": HELD},
    "trainer/data/mnist.py": {"read_bytes": SHIPPED, "loadtxt": SHIPPED},
    "trainer/training/checkpoint.py": {"load_file": "mapped, a regular file of at most 4 GiB"},
    "trainer/training/health.py": {"open": WRITES},
    "trainer/training/lightning_setup.py": {"torch.load": HELD},
    "trainer/training/places.py": {"open": "its first bytes"},
    "trainer/training/processor.py": {"read_text": SYSTEM},
    "trainer/training/resume_files.py": {"read_bytes": "best.ckpt beside a resume file, copied"},
}  # fmt: skip


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def opened_in(text: str) -> Iterator[str]:
    """What a module's calls open, by the names above.

    Functions of another module of ours are none: they are looked at there.
    """
    tree = ast.parse(text)
    guarded = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("purespike.")
        for alias in node.names
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func)
        last = name.rpartition(".")[2]
        if name in guarded or name.startswith("reading."):
            continue
        if name in QUALIFIED:
            yield name
        elif last in OPENS and not name.startswith(("cls.", "Store.")):
            yield last


def _modules() -> list[Path]:
    return [p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py"))]


def test_a_file_of_a_user_is_read_through_the_guard() -> None:
    found = {p.relative_to(ROOT).as_posix(): set(opened_in(p.read_text())) for p in _modules()}
    del found[GUARD]
    past = {name: sorted(f - KNOWN.get(name, {}).keys()) for name, f in found.items()}
    assert not {name: f for name, f in past.items() if f}, f"these open files past {GUARD}"
    gone = {name: sorted(KNOWN[name].keys() - found.get(name, set())) for name in KNOWN}
    assert not {name: f for name, f in gone.items() if f}, "no longer there: remove them above"


@pytest.mark.parametrize(
    "text",
    [
        "np.load(path)",
        "h5py.File(path)",
        "onnx.load(path)",
        "model.ParseFromString(path.read_bytes())",
        "torch.load(path, weights_only=True)",
        "json.load(path.open())",
        "json.loads(path.read_text())",
        "tomllib.load(open(path, 'rb'))",
        "zipfile.ZipFile(path)",
        "np.fromfile(path)",
    ],
)
def test_a_new_reader_without_the_guard_is_seen(text: str) -> None:
    assert set(opened_in(f"def f(path):\n    return {text}\n"))


def test_the_guard_itself_is_no_reader_of_its_own() -> None:
    text = "from purespike.compiler.files.reading import opened, read_text\n"
    assert not set(opened_in(text + "with opened(p, 1, E, 'x') as f: read_text(p, 1, E, 'x')\n"))
