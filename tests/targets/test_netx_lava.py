"""What we write, loaded by lava-dl's own netx and run by Lava: every spike equal to ours."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.netx_cases import CASES, lava_dl_tests, network
from helpers.nir_cases import differences
from helpers.nir_targets import agree_on_lava, agree_on_onnx_and_nir, agree_on_replay
from helpers.strategies import spikes

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.passes.split_host import chip_part, split_host
from purespike.targets.cpu.run import run_cpu
from purespike.targets.lava.lower.emit import emit, from_lava
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.lava.program.file import write
from purespike.targets.lava.run.guard import LavaRunError, _run
from purespike.targets.lava.run.python import WORKER
from purespike.targets.netx import read_netx, write_netx
from purespike.targets.spec import LOIHI2, check

pytestmark = pytest.mark.usefixtures("parsed_here")

CHILD = Path(__file__).parent / "netx_child" / "worker.py"
SAMPLES = 4
pytest.importorskip("lava.lib.dl", reason="lava-dl is not installed")


def run_netx(
    graph: Graph,
    x: Any,
    file: Path,
    folder: Path,
    bias: Any = None,
    depths: dict[str, int] | None = None,
) -> dict[str, Any]:
    """Spikes and readout membranes by neuron, (T, B, *shape), of the network in ``file``.

    ``bias`` (*shape) drives the neurons of an input layer in place of ``x``. ``depths`` are the
    synapses in front of each neuron in netx, where our own program would answer at other steps; it
    takes a single sample, of which the last steps may be missing.
    """
    plan = schedule(graph)
    folder.mkdir()
    program = emit(graph, plan, x, conv="stock")
    bias_file = ""
    if bias is not None:
        program = replace(program, record=(graph.inputs[0].name, *program.record))
        bias_file = str(folder / "bias.npy")
        np.save(bias_file, bias.T.astype(np.int32))
    write(program, folder)
    command = [sys.executable, str(CHILD), str(WORKER), str(file), bias_file]
    result = _run(command, folder, program, timeout=120.0, on_progress=None, stall=60.0, keep=None)
    rows = {**result.spikes, **result.membranes}
    steps, samples = x.shape[:2]
    if depths is not None:
        starts = {n: plan.depth[graph.inputs[0].name] + depth for n, depth in depths.items()}
        return {n: from_lava(v, len(v) - starts[n], 1, starts[n]) for n, v in rows.items()}
    return {n: from_lava(v, steps, samples, plan.depth[n]) for n, v in rows.items()}


@pytest.mark.parametrize(
    "case", [c if c in ("vgg", "leaky") else pytest.param(c, marks=pytest.mark.slow) for c in CASES]
)
def test_netx_runs_it_spike_for_spike(case: str, tmp_path: Path) -> None:
    graph = network(case)
    x = spikes(graph, SAMPLES, seed=3).astype(np.uint8)
    write_netx(graph, tmp_path / "model.net")
    found = run_netx(graph, x, tmp_path / "model.net", tmp_path / "program")
    expected = run(graph, x)
    fired = 0
    for name, values in found.items():
        fires = graph.edge(name).domain.hi == 1
        wanted = expected.values[name] if fires else expected.membranes[name]
        np.testing.assert_array_equal(values, wanted, err_msg=name)
        fired += int(np.count_nonzero(values))
    assert fired > 50  # a silent network would agree with anything


def test_a_changed_weight_changes_what_netx_runs(tmp_path: Path) -> None:
    """The comparison above can fail: one weight less, and the spikes differ."""
    import h5py

    graph = network("dense")
    x = spikes(graph, SAMPLES, seed=3).astype(np.uint8)
    write_netx(graph, tmp_path / "model.net")
    with h5py.File(tmp_path / "model.net", "r+") as file:
        file["layer/1/weight"][0] = -file["layer/1/weight"][0]
    found = run_netx(graph, x, tmp_path / "model.net", tmp_path / "program")
    expected = run(graph, x)
    assert any(not np.array_equal(v, expected.values[n]) for n, v in found.items() if "n" in n)


def test_a_file_that_netx_refuses_ends_with_its_reason(tmp_path: Path) -> None:
    graph = network("dense")
    (tmp_path / "model.net").write_bytes(b"no HDF5")
    x = spikes(graph, SAMPLES, seed=3).astype(np.uint8)
    with pytest.raises(LavaRunError, match="OSError"):
        run_netx(graph, x, tmp_path / "model.net", tmp_path / "program")


@pytest.mark.parametrize("current", [4096, 1024])
def test_it_reads_and_runs_a_file_as_slayer_writes_them(tmp_path: Path, current: int) -> None:
    """Fields in lava-dl's own form: float weights of five axes, scalar geometry, no metadata."""
    import h5py

    r = np.random.default_rng(1)
    with h5py.File(tmp_path / "slayer.net", "w") as file:
        layers = (
            {"type": "input", "shape": np.array([2, 5, 4])},
            {
                "type": "conv",
                "shape": np.array([3, 5, 4]),
                "inChannels": 2,
                "outChannels": 3,
                "kernelSize": np.array([3, 3]),
                "stride": 1,
                "padding": 1,
                "dilation": 1,
                "groups": 1,
                "weight": 2.0 * r.integers(-60, 60, (3, 2, 3, 3, 1)),
                "vDecay": 128,
            },
            {"type": "flatten"},
            {
                "type": "dense",
                "shape": np.array([6]),
                "weight": 2.0 * r.integers(-60, 60, (6, 60)),
                "bias": r.integers(-9, 9, 6) * (current == 4096),
                "vDecay": 0,
            },
            # without a neuron: netx integrates
            {"type": "dense", "shape": np.array([3]), "weight": r.integers(-9, 9, (3, 6))},
        )
        for index, fields in enumerate(layers):
            group = file.create_group(f"layer/{index}")
            for name, value in fields.items():
                if name == "type":
                    group.create_dataset(name, (1,), "S10", [str(value).encode()])
                elif name == "vDecay":
                    group["neuron/vDecay"] = value
                    group["neuron/iDecay"], group["neuron/vThMant"] = current, 150
                    group["neuron/refDelay"], group["neuron/gradedSpike"] = 1, False
                    group.create_dataset("neuron/type", (1,), "S10", [b"CUBA"])
                else:
                    group[name] = value
    graph = read_netx(tmp_path / "slayer.net", steps=5, dt=1e-3)
    x = spikes(graph, SAMPLES, seed=5).astype(np.uint8)
    found = run_netx(graph, x, tmp_path / "slayer.net", tmp_path / "program")
    expected = run(graph, x)
    assert any("current decay" in n.op.details() for n in graph.nodes) == (current < 4096)
    assert len(found) == 3
    for name, values in found.items():
        fires = graph.edge(name).domain.hi == 1
        wanted = expected.values[name] if fires else expected.membranes[name]
        np.testing.assert_array_equal(values, wanted, err_msg=name)
        assert values.any() and not (fires and values.all())


def slayer_layer(group: Any, **fields: Any) -> None:
    """A layer as SLAYER's `export_hdf5` writes it, with a CUBA neuron."""
    for name in ("type", "neuron/type"):
        kind = str(fields.pop(name, "CUBA")).encode()
        group.create_dataset(name, (1,), "S10", [kind])
    neuron = {"iDecay": 4096, "vDecay": 400, "vThMant": 150, "refDelay": 1, "gradedSpike": False}
    for name in neuron:
        group[f"neuron/{name}"] = fields.pop(name, neuron[name])
    for name, value in fields.items():
        group[name] = value


def even(r: Any, *shape: int) -> Any:
    """What SLAYER quantizes to: even, both ends among them, in floats."""
    weight = 2.0 * r.integers(-60, 80, shape)
    weight.flat[:2] = -256, 254
    return weight


WIDE: dict[str, Any] = {  # mantissas beyond int8, by layer
    "dense": [
        lambda r: {"type": "dense", "shape": np.array([9]), "weight": even(r, 9, 12)},
        lambda r: {
            "type": "dense",
            "shape": np.array([8]),
            "weight": np.float32(r.integers(0, 256, (8, 9))),
            "vThMant": 700,
        },
        lambda r: {"type": "dense", "shape": np.array([8]), "weight": even(r, 8, 8), "iDecay": 900},
        lambda r: {
            "type": "dense",
            "shape": np.array([6]),
            "weight": -1.0 * np.maximum(r.integers(1, 256, (6, 8)), 255 * np.eye(6, 8, dtype=int)),
            "vThMant": 0,
            "vDecay": 0,
            "bias": 300 + np.arange(6),
        },
    ],
    "conv": [
        lambda r: {
            "type": "conv",
            "shape": np.array([3, 5, 4]),
            "inChannels": 2,
            "outChannels": 3,
            "kernelSize": np.array([3, 3]),
            "stride": np.array([2, 1]),
            "padding": np.array([1, 0]),
            "dilation": 1,
            "groups": 1,
            "weight": even(r, 3, 2, 3, 3, 1),
        },
        lambda r: {"type": "flatten"},
        lambda r: {"type": "dense", "shape": np.array([7]), "weight": even(r, 7, 60)},
    ],
}


@pytest.mark.parametrize("case", WIDE)
def test_mantissas_of_eight_bits_without_an_input_block(case: str, tmp_path: Path) -> None:
    """The whole range of a synapse, as SLAYER writes it: netx on Lava, and every target of ours."""
    import h5py

    r = np.random.default_rng(12)
    with h5py.File(tmp_path / "wide.net", "w") as file:
        for index, layer in enumerate(WIDE[case]):
            fields, group = layer(r), file.create_group(f"layer/{index}")
            if fields["type"] == "flatten":
                group.create_dataset("type", (1,), "S10", [b"flatten"])
            else:
                slayer_layer(group, **fields)
    shape = (2, 9, 6) if case == "conv" else None
    graph = read_netx(tmp_path / "wide.net", steps=8, dt=1e-3, shape=shape)
    assert graph.inputs[0].shape == (shape or (12,))
    assert [f for f in check(graph, LOIHI2) if f.status != "PASS"] == []
    x = spikes(graph, SAMPLES, seed=5).astype(np.uint8)
    found = run_netx(graph, x, tmp_path / "wide.net", tmp_path / "program")
    expected = run(graph, x)
    assert len(found) == sum(isinstance(n.op, Neuron) for n in graph.nodes)
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected.values[name], err_msg=name)
        assert 0.02 < values.mean() < 0.98, name
    agree_on_lava(graph, x)
    agree_on_onnx_and_nir(graph, x, tmp_path)
    agree_on_replay(graph, x, tmp_path)
    on_cpu = run_cpu(graph, x)
    for name in found:
        np.testing.assert_array_equal(on_cpu.values[name], expected.values[name], err_msg=name)
    write_netx_again(graph, tmp_path)


def write_netx_again(graph: Graph, folder: Path) -> None:
    """What was read can be written: the same weights, and the same graph of it."""
    if any(isinstance(n.op, Neuron) and n.op.current_decay for n in graph.nodes):
        return  # netx is written without synaptic currents
    write_netx(graph, folder / "again.net")
    assert differences(graph, read_netx(folder / "again.net")) == []


DELAYS: dict[str, Any] = {  # by layer: steps that its inputs wait, and its outputs
    "neurons, some of them none": {2: np.array([0, 3, 1, 0, 62, 7]), 3: np.array([2, 0, 0, 1, 5])},
    "inputs and one for all": {1: np.arange(7) % 3, 3: np.float32(2)},
    "everything waits": {2: np.full(6, 4), 3: np.full(5, 1.9)},
    "longer than a chip holds": {2: np.array([0, 70, 1, 0, 90, 7])},
}


@pytest.mark.parametrize(
    "case", [c if k == 0 else pytest.param(c, marks=pytest.mark.slow) for k, c in enumerate(DELAYS)]
)
def test_netx_delays_as_we_read_it(case: str, tmp_path: Path) -> None:
    """One sample: what is on its way in netx at the end of a sample arrives in the next."""
    import h5py

    r = np.random.default_rng(8)
    sizes = [7, 6, 6, 5, 4]
    with h5py.File(tmp_path / "late.net", "w") as file:
        file.create_dataset("layer/0/type", (1,), "S10", [b"input"])
        file["layer/0/shape"] = np.array([7])
        for i, (into, out) in enumerate(pairwise(sizes), start=1):
            group = file.create_group(f"layer/{i}")
            group.create_dataset("type", (1,), "S10", [b"dense"])
            group.create_dataset("neuron/type", (1,), "S10", [b"LOIHI"])
            group["shape"], group["weight"] = np.array([out]), r.integers(-30, 60, (out, into))
            group["neuron/iDecay"], group["neuron/vDecay"] = (1024, 4096)[i % 2], 300
            group["neuron/vThMant"] = 80
            if i in DELAYS[case]:
                group["delay"] = DELAYS[case][i]
    graph = read_netx(tmp_path / "late.net", steps=90, dt=1e-3)
    x = spikes(graph, 1, seed=5).astype(np.uint8)
    agree_on_lava(graph, x)
    agree_on_onnx_and_nir(graph, x, tmp_path)
    depths = {f"neuron{i}": i for i in (1, 2, 3, 4)}
    found = run_netx(graph, x, tmp_path / "late.net", tmp_path / "program", depths=depths)
    expected = run(graph, x)
    assert list(found) == list(depths)
    for i, (name, values) in enumerate(found.items(), start=1):
        wanted = expected.values[name]
        waits = np.trunc(np.clip(DELAYS[case].get(i, 0), 0, 62)).astype(int)
        if waits.shape == (sizes[i],):  # there the neurons hear late, and here their spikes wait
            for k, wait in enumerate(waits):
                late = wanted[: 90 - wait, :, k].copy()
                wanted[:wait, :, k], wanted[wait:, :, k] = 0, late
        assert len(values) > 85 and 0.05 < values.mean() < 0.9
        np.testing.assert_array_equal(values[:90], wanted[: len(values)], err_msg=name)


LAVA_DL = {  # file, steps, seed of what drives the input (None: netx's own ground truth)
    "tiny": ("tiny.net", 15, None),
    "tiny, driven at random": ("tiny.net", 15, 0),
    "mnist": ("mnist.net", 16, 1),
    "pilotnet": ("gts/pilotnet_lif/network.net", 16, 2),
}


@pytest.mark.parametrize(
    "case", ["tiny", *(pytest.param(c, marks=pytest.mark.slow) for c in list(LAVA_DL)[1:])]
)
def test_lava_dls_networks_run_in_netx_as_here(case: str, tmp_path: Path) -> None:
    """Every layer, the encoding one too, in two samples back to back, driven as netx is."""
    name, steps, seed = LAVA_DL[case]
    file = lava_dl_tests() / name
    graph = split_host(replace(read_netx(file, dt=1e-3), steps=steps), host_encoder=True)
    if seed is None:
        bias = np.load(lava_dl_tests() / "gts/tinynet/input_bias.npy").T
    else:
        bias = np.random.default_rng(seed).integers(-60, 140, graph.inputs[0].shape)
    x = np.broadcast_to(bias.astype(float), (steps, 2, *bias.shape))
    expected = run(graph, x)
    chip = chip_part(graph)
    encoded = expected.values[chip.inputs[0].name].astype(np.uint8)
    found = run_netx(chip, encoded, file, tmp_path / "program", bias)
    neurons = [n.name for n in graph.nodes if isinstance(n.op, Neuron)]
    assert list(found) == neurons
    for layer, values in found.items():
        fires = graph.edge(layer).domain.hi == 1
        wanted = expected.values[layer] if fires else expected.membranes[layer]
        np.testing.assert_array_equal(values, wanted, err_msg=layer)
        assert values.any() and not (fires and values.all())
