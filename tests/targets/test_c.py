"""The C program, compiled and run: equal to the interpreter in every spike and membrane."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.random_graphs import compiled, integer
from helpers.recurrent_cases import recurrent_graphs
from helpers.strategies import FIXED, chip_graphs, spikes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.ir.graph import Edge, Graph, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Flatten, Linear, Neuron, Scale
from purespike.compiler.proofs.counts import dense_census
from purespike.targets.c.emit import memory, sources
from purespike.targets.c.footprint import footprint
from purespike.targets.c.golden import write_c
from purespike.targets.c.layers import CError
from purespike.targets.c.lower import lower
from purespike.targets.c.program import MANIFEST, write_program
from purespike.targets.c.run import Replayed, replay_program

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc on this machine")
STRICT = "-O1 -Wall -Wextra -Wconversion -Wpedantic -Werror"
R = np.random.default_rng(5)
CROSS = {
    "arm": ("arm-linux-gnueabihf-gcc", "qemu-arm"),
    "riscv64": ("riscv64-linux-gnu-gcc", "qemu-riscv64"),
    "powerpc, big-endian": ("powerpc-linux-gnu-gcc", "qemu-ppc"),
}


def whole(*shape: int, low: int = -9, high: int = 10) -> Any:
    return R.integers(low, high, shape).astype(np.float64)


def written(graph: Graph, x: Any, folder: Path) -> Path:
    trace = run(graph, x)
    fires = {n.name for n in graph.nodes if isinstance(n.op, Neuron) and n.op.fires}
    folder.mkdir(parents=True, exist_ok=True)
    write_c(graph, folder, x, {n: trace.values[n] for n in fires}, trace.membranes)
    return folder


def replayed(graph: Graph, x: Any, folder: Path, flags: str = STRICT, how: str = "") -> Replayed:
    scratch = folder / "built"
    written(graph, x, folder / "c")
    scratch.mkdir()
    return replay_program(folder / "c", scratch, flags=flags, run=how)


def everything() -> Graph:
    """Groups, dilation, a delay by place, a loop, a fading current, both resets, a gate."""
    soft = Neuron(np.array(9.0), 0.75, "subtract", np.array(7.0), 1.0, FIXED, 0.5)
    late = R.integers(1, 4, (6, 4, 4)).astype(np.float64)
    nodes = [
        ("stem", Conv2d(whole(6, 2, 3, 3), whole(6), padding=(1, 1), dilation=(1, 1)), ("x",)),
        ("stem_n", Neuron(whole(6, 1, 1, low=5), 1.0, fixed=FIXED), ("stem",)),
        ("deep", Conv2d(whole(6, 1, 3, 3), None, (1, 1), (2, 2), (2, 2), 6), ("stem_n",)),
        ("wait", Delay(late), ("soft",)),
        ("back", Scale(whole(6, 4, 4)), ("wait",)),
        ("sum", Add(), ("deep", "back")),
        ("soft", soft, ("sum",)),
        ("half", Conv2d(whole(9, 2, 2, 2), whole(9), (2, 2), groups=3), ("soft",)),
        ("gate", Neuron(np.array(4.0), 0.0, fixed=FIXED), ("half",)),
        ("flat", Flatten(), ("gate",)),
        ("fc", Linear(whole(5, 36, low=-200, high=200), whole(5)), ("flat",)),
        ("out", Neuron(np.array(np.inf), 1.0, "none", fixed=FIXED), ("fc",)),
    ]
    loop = Edge("soft", (6, 4, 4), SPIKE)
    return build((Edge("x", (2, 4, 4), SPIKE),), nodes, ("out", "gate"), 7, loops=(loop,))


def test_mantissas_of_eight_bits(tmp_path: Path) -> None:
    """Weights as netx files have them: both ends of both signs, and one sign up to 255."""
    even = 2.0 * R.integers(-128, 128, (6, 5))
    even.flat[:2] = -256, 254
    nodes = [
        ("l", Linear(even), ("x",)),
        ("n", Neuron(60.0, fixed=FIXED), ("l",)),
        ("m", Linear(whole(4, 6, low=0, high=256)), ("n",)),
        ("o", Neuron(300.0, fixed=FIXED), ("m",)),
    ]
    graph = build((Edge("x", (5,), SPIKE),), nodes, ("o",), 7)
    assert replayed(graph, spikes(graph, 4, seed=2), tmp_path).equal


def test_all_it_can_say_at_once_without_a_warning(tmp_path: Path) -> None:
    graph = everything()
    found = replayed(graph, spikes(graph, 3, 1), tmp_path)
    assert found == Replayed(True, "3 samples, 7 steps each: all spikes and membranes equal, "
                             "bit for bit")  # fmt: skip
    assert {a.bits for x in lower(graph).layers for a in x.arms} >= {8, 16}


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(graph=chip_graphs(), seed=st.integers(0, 99))
def test_random_networks(graph: Graph, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = replayed(graph, spikes(graph, 2, seed), tmp_path_factory.mktemp("c"), "-O0")
    assert found.equal, found.text


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(graph=recurrent_graphs(clocked=False), seed=st.integers(0, 99))
def test_random_loops(graph: Graph, seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = replayed(graph, spikes(graph, 2, seed), tmp_path_factory.mktemp("c"), "-O0")
    assert found.equal, found.text


def test_compiled_residual_networks(tmp_path: Path) -> None:
    for seed in range(3):
        sample = integer(seed)
        found = replayed(compiled(sample).graph, sample.x, tmp_path / str(seed), "-O0")
        assert found.equal, (seed, found.text)


@pytest.mark.parametrize("sanitizer", ["undefined", "address"])
def test_no_undefined_behaviour_and_no_access_outside(tmp_path: Path, sanitizer: str) -> None:
    graph = everything()
    flags = f"-O1 -fsanitize={sanitizer} -fno-sanitize-recover=all"
    assert replayed(graph, spikes(graph, 3, 2), tmp_path, flags).equal


@pytest.mark.skipif(shutil.which("clang") is None, reason="no clang on this machine")
def test_clang_takes_it_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "clang")
    graph = everything()
    assert replayed(graph, spikes(graph, 3, 3), tmp_path, STRICT).equal


@pytest.mark.parametrize("name", CROSS)
def test_other_processors(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler, emulator = CROSS[name]
    if not (shutil.which(compiler) and shutil.which(emulator)):
        pytest.skip(f"{compiler} and {emulator} are not installed: apt-get install gcc-{name}...")
    monkeypatch.setenv("CC", compiler)
    graph = everything()
    assert replayed(graph, spikes(graph, 3, 4), tmp_path, f"{STRICT} -static", emulator).equal


def test_make_check_as_its_reader_runs_it_and_the_form_for_hls(tmp_path: Path) -> None:
    graph, x = everything(), spikes(everything(), 2, 5)
    folder = written(graph, x, tmp_path / "c")
    done = subprocess.run(["make", "-s", "check"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("equal, bit for bit") == 2, done.stderr
    plain, hls = sources(graph), sources(graph, "hls")
    assert "HLS" not in plain["network.c"]
    assert "#pragma HLS PIPELINE II=1" in hls["network.c"]
    kept = re.sub(r"#ifdef __SYNTHESIS__\n#pragma HLS .*\n#endif\n", "", hls["network.c"])
    assert kept == plain["network.c"] and {**hls, "network.c": ""} == {**plain, "network.c": ""}


def test_a_number_that_is_not_the_networks_is_noticed(tmp_path: Path) -> None:
    graph, x = everything(), spikes(everything(), 3, 6)
    folder = written(graph, x, tmp_path / "c")
    text = (folder / "parameters.c").read_text()
    arrays = list(
        re.finditer(r"const (int\d+_t|uint8_t) (network_\w+)\[\d+\] = \{\n(.*?)\n\};", text, re.S)
    )
    assert len(arrays) >= 3
    for k, found in enumerate(arrays):
        values = found[3].rstrip(",").split(",")
        changed = [f" {int(v) + i % 2}" for i, v in enumerate(values)]
        new = text[: found.start(3)] + ",".join(changed) + text[found.end(3) :]
        (folder / "parameters.c").write_text(new)
        (scratch := tmp_path / str(k)).mkdir()
        assert not replay_program(folder, scratch, flags="-O0").equal, found[2]


def test_a_golden_sample_that_is_not_the_networks_is_named(tmp_path: Path) -> None:
    graph, x = everything(), spikes(everything(), 2, 7)
    trace = run(graph, x)
    values = {n: trace.values[n].copy() for n in ("stem_n", "soft", "gate")}
    values["soft"][3, 1, 2, 0, 1] = 1 - values["soft"][3, 1, 2, 0, 1]
    write_c(graph, tmp_path, x, values, trace.membranes)
    scratch = tmp_path / "built"
    scratch.mkdir()
    found = replay_program(tmp_path, scratch)
    assert found == Replayed(False, "sample 1, step 3: layer soft differs")


def test_the_footprint_is_what_the_compiler_lays_out(tmp_path: Path) -> None:
    graph = everything()
    folder = written(graph, spikes(graph, 1, 8), tmp_path)
    for name in ("network", "parameters"):
        command = ["gcc", "-O0", "-c", "-o", f"{name}.o", f"{name}.c"]
        subprocess.run(command, cwd=folder, check=True)

    def sizes(name: str, kinds: str) -> dict[str, int]:
        done = subprocess.run(
            ["nm", "-S", f"{name}.o"], cwd=folder, capture_output=True, text=True, check=True
        )
        rows = (line.split() for line in done.stdout.splitlines())
        return {r[3]: int(r[1], 16) for r in rows if len(r) == 4 and r[2] in kinds}

    needs = footprint(graph)
    ram = sizes("network", "bBdD")
    assert ram.pop("now") == 4
    assert sum(ram.values()) == needs.ram + sum(  # an array of nothing still has one place
        2 * (n == 0) for n in (memory(lower(graph)).narrow, memory(lower(graph)).sums16)
    ) + sum(4 * (n == 0) for n in (memory(lower(graph)).wide, memory(lower(graph)).sums32))
    rom = sum(sizes("parameters", "rR").values())
    # What is equal is kept once; beside it the outputs, and a place in each array of nothing.
    assert rom <= needs.rom + 4 * len(graph.outputs) + (1 + 1 + 2 + 4 + 4)
    assert rom >= sum(r.weights for r in needs.rows)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(graph=chip_graphs())
def test_additions_are_those_of_the_census(graph: Graph) -> None:
    counts = sum(c.ac for c in dense_census(graph).values())
    assert sum(r.additions for r in footprint(graph).rows) == counts


def test_what_has_no_form_is_refused_with_its_place() -> None:
    x = Edge("x", (4,), SPIKE)
    fc = Linear(whole(3, 4))
    real = build((x,), [("fc", fc, ("x",)), ("n", Neuron(np.array(1.0)), ("fc",))], ("n",), 2)
    with pytest.raises(CError, match="no form in whole numbers"):
        lower(real)
    two = build((x, Edge("y", (4,), SPIKE)), [("n", Neuron(np.array(1.0), fixed=FIXED), ("x",))],
                ("n",), 2)  # fmt: skip
    with pytest.raises(CError, match="one input of spikes"):
        lower(two)
    analog = Edge("x", (4,), ANALOG)
    with pytest.raises(CError, match="one input of spikes"):
        lower(build((analog,), [("n", Neuron(np.array(1.0), fixed=FIXED), ("x",))], ("n",), 2))
    chain = [("a", fc, ("x",)), ("b", Linear(whole(2, 3)), ("a",))]
    graph = build((x,), [*chain, ("n", Neuron(np.array(9.0), fixed=FIXED), ("b",))], ("n",), 2)
    with pytest.raises(CError, match="a synapse of the C program hears spikes"):
        lower(graph)
    wide = build((x,), [("fc", Linear(np.full((1, 4), 2.0**28)), ("x",)),
                        ("n", Neuron(np.array(9.0), fixed=FIXED), ("fc",))], ("n",), 2)  # fmt: skip
    with pytest.raises(CError, match="computes in 32 bits"):
        lower(wide)


def test_memory_that_does_not_suffice_names_the_layer(tmp_path: Path) -> None:
    graph, x = everything(), spikes(everything(), 1, 9)
    trace = run(graph, x)
    needs = footprint(graph)
    with pytest.raises(CError, match="more working memory") as e:
        write_program(graph, tmp_path / "c", x, trace.values, trace.membranes, ram=needs.ram - 1,
                      version="0")  # fmt: skip
    assert e.value.where == "out" and not (tmp_path / "c").exists()
    write_program(
        graph, tmp_path / "c", x, trace.values, trace.membranes, ram=needs.ram, version="0"
    )
    manifest = json.loads((tmp_path / "c" / MANIFEST).read_text())
    assert manifest["footprint"]["ram_bytes"] == needs.ram
    assert set(manifest["files"]) == {p.name for p in (tmp_path / "c").iterdir()} - {MANIFEST}


def test_same_network_same_bytes(tmp_path: Path) -> None:
    graph, x = everything(), spikes(everything(), 2, 10)
    for name in ("a", "b"):
        written(graph, x, tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_export_takes_only_what_is_ours(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "program.json").write_text("{}")
    done = CliRunner().invoke(app, ["export", "nowhere", "--out", str(tmp_path / "mine")])
    assert isinstance(done.exception, PurespikeError)
    assert (tmp_path / "mine" / "program.json").read_text() == "{}"


def test_weights_that_all_places_share_are_kept_once_whoever_wrote_them_out(tmp_path: Path) -> None:
    kept = whole(5, 6)
    head = Linear(np.repeat(kept, 9, axis=1), whole(5))
    nodes = [
        ("stem", Conv2d(whole(6, 2, 2, 2)), ("x",)),
        ("n", Neuron(np.array(4.0), fixed=FIXED), ("stem",)),
        ("flat", Flatten(), ("n",)),
        ("fc", head, ("flat",)),
        ("out", Neuron(np.array(np.inf), 1.0, "none", fixed=FIXED), ("fc",)),
    ]
    graph = build((Edge("x", (2, 4, 4), SPIKE),), nodes, ("out",), 4)
    (arm,) = lower(graph).layers[1].arms
    assert arm.shared and arm.weight.size == kept.size
    assert replayed(graph, spikes(graph, 3, 11), tmp_path, "-O0").equal
