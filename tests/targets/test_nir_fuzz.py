"""Files with random bytes changed: never a crash, a hang, or another network."""

import random
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import nir
import numpy as np
import pytest
from helpers.nir_cases import differences
from helpers.user_files import foreign

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.ops import Linear, Neuron
from purespike.targets.nir.emit import write_nir
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.guard import guard
from purespike.targets.nir.guard.guard import SECONDS
from purespike.targets.nir.read import read_nir


def ours() -> Graph:
    weight = np.random.default_rng(0).integers(-128, 127, (3, 4))
    nodes = [("fc", Linear(weight, [1, 2, 3]), ("x",)), ("lif", Neuron(3.0, 0.75), ("fc",))]
    return build((Edge("x", (4,), SPIKE),), nodes, ("lif",), 4)


def mutant(good: bytes, rng: random.Random) -> bytes:
    """One to 16 bytes changed, mostly among those that are not zero."""
    raw = bytearray(good)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        place = rng.randrange(len(raw))
        while good[place] == 0 and rng.random() < 0.9:
            place = rng.randrange(len(raw))
        flipped = raw[place] ^ (1 << rng.randrange(8))
        raw[place] = rng.choice([0, 255, rng.randrange(256), flipped])
    return bytes(raw)


def children() -> float:
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def fuzz(path: Path, count: int, seed: int) -> dict[str, int]:
    """Our own file, then the same without our metadata, which has no hash to defend it."""
    rng = random.Random(seed)
    graph = ours()
    write_nir(graph, path)
    own = path.read_bytes()
    stripped = nir.read(path)
    stripped.metadata = {}
    nir.write(path, stripped)
    others = path.read_bytes()
    seen = {"equal": 0, "read": 0, "refused": 0}
    for i in range(count):
        path.write_bytes(mutant(own if i % 2 else others, rng))
        started = children()
        try:
            if i % 2:
                assert differences(graph, read_nir(path)) == [], f"mutant {i} of seed {seed}"
                seen["equal"] += 1
            else:
                assert read_nir(path, dt=1e-3, steps=4, reset="zero", fires="above").steps == 4
                seen["read"] += 1
        except NirFileError as e:
            assert str(path) in str(e)
            seen["refused"] += 1
        assert children() - started < SECONDS + 2
    return seen


def test_a_few_mutants(tmp_path: Path) -> None:
    seen = fuzz(tmp_path / "m.nir", 50, seed=1)  # each read by a child of its own
    assert min(seen.values()) > 4, seen  # mutants of every fate, or the mutation is not a test


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_many_mutants(tmp_path: Path) -> None:
    seen = fuzz(tmp_path / "m.nir", 1100, seed=2)
    assert min(seen.values()) > 100, seen


def test_a_busy_machine_is_no_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that never came to run was said to have met a file that cannot be parsed."""
    monkeypatch.setattr(guard, "PATIENCE", 1e-4)
    with pytest.raises(NirFileError, match="not parsed in time") as caught:
        guard.load(foreign(tmp_path / "m.nir"))
    assert "may be busy: try again" in str(caught.value)
