"""Every process a program may hold, run in Lava and compared with numpy bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.lava_reference import simulate

from purespike.targets.lava.program.file import write
from purespike.targets.lava.program.program import (
    Connection,
    Conv,
    Dense,
    Lif,
    Process,
    Program,
    SoftIf,
    Source,
    Sparse,
    membrane_steps,
    output_shape,
)
from purespike.targets.lava.run.guard import Result, run_guarded

NEVER = 2**17 - 1
MEMORYLESS = {"du": 4095, "dv": 4095}


def spikes(rng: np.random.Generator, steps: int, *shape: int, rate: float = 0.4) -> Any:
    return (rng.random((steps, *shape)) < rate).astype(np.uint8)


def run(program: Program, folder: Path) -> Result:
    write(program, folder)
    return run_guarded(folder, timeout=120)


def assert_equal(program: Program, result: Result) -> None:
    """Spikes and membranes of Lava and numpy are the same numbers."""
    expected_spikes, expected_membranes = simulate(program)
    rows = [t - 1 for t in membrane_steps(program)]
    for name in program.record:
        np.testing.assert_array_equal(result.spikes[name], expected_spikes[name], name)
    for name in program.record_v:
        np.testing.assert_array_equal(result.membranes[name], expected_membranes[name][rows], name)


def chains(synapses: list[Process], rng: np.random.Generator, steps: int, **neuron: Any) -> Program:
    """Each synapse in front of a neuron layer of its own, recorded in full; a source a shape."""
    sources: dict[tuple[int, ...], Source] = {}
    processes: list[Process] = []
    connections: list[Connection] = []
    for synapse in synapses:
        name = synapse.name
        if isinstance(synapse, Conv):
            entering: tuple[int, ...] = synapse.input_shape
        elif isinstance(synapse, Dense):
            entering = (synapse.weight.shape[1],)
        else:
            assert isinstance(synapse, Sparse)
            entering = (synapse.size[1] if synapse.size else synapse.weight.size,)
        if entering not in sources:
            sources[entering] = Source(f"{name}.in", entering, spikes(rng, steps - 2, *entering))
        processes += [
            synapse,
            Lif(f"{name}.out", output_shape(synapse), **{"vth": NEVER, **neuron}),
        ]
        source = sources[entering].name
        connections += [Connection(source, name), Connection(name, f"{name}.out")]
    names = tuple(f"{synapse.name}.out" for synapse in synapses)
    made = (*sources.values(), *processes)
    return Program(made, tuple(connections), steps, names, names)


def convolutions(rng: np.random.Generator) -> list[Process]:
    """A grid of kernels, strides, paddings, dilations and groups on a frame that is not square."""
    settings: list[dict[str, Any]] = [
        {},
        {"padding": (1, 1)},
        {"padding": (2, 0), "stride": (2, 1)},
        {"stride": (2, 3), "padding": (1, 2)},
        {"dilation": (2, 1), "padding": (2, 1)},
        {"dilation": (1, 2), "stride": (1, 2)},
        {"groups": 2, "padding": (1, 1)},
        {"groups": 4},
    ]
    layers: list[Process] = []
    for index, setting in enumerate(settings):
        kernel = [(3, 3), (1, 3), (3, 1), (2, 3)][index % 4]
        shape = (4, *kernel, 4 // setting.get("groups", 1))
        layers.append(Conv(f"conv{index}", rng.integers(-128, 128, shape), (9, 7, 4), **setting))
    layers.append(Conv("pointwise", rng.integers(-128, 128, (5, 1, 1, 3)), (4, 6, 3)))
    layers.append(Conv("large", rng.integers(-128, 128, (2, 5, 5, 2)), (8, 6, 2), padding=(2, 2)))
    return layers


@pytest.mark.parametrize("models", ["fast", "stock"])
def test_convolutions_are_exact(models: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    program = replace(chains(convolutions(rng), rng, 6), conv=models)
    assert_equal(program, run(program, tmp_path))


def test_lavas_own_convolution_takes_sizes_beyond_eight_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    layers: list[Process] = [
        Conv("wide", rng.integers(-128, 128, (2, 3, 3, 1)), (130, 4, 1), padding=(1, 1)),
        Conv("deep", rng.integers(-128, 128, (256, 1, 1, 2)), (2, 3, 2)),
        Conv("edge", rng.integers(-128, 128, (1, 2, 2, 1)), (3, 126, 1), padding=(1, 1)),
    ]
    program = replace(chains(layers, rng, 4), conv="stock")
    assert_equal(program, run(program, tmp_path))


def test_fast_models_equal_stock_models_on_random_layers(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    layers: list[Process] = []
    for index in range(14):
        groups = int(rng.choice([1, 1, 2, 3]))
        kernel = rng.integers(1, 5, 2)
        shape = (groups * int(rng.integers(1, 4)), *kernel, int(rng.integers(1, 4)))
        layers.append(
            Conv(
                f"conv{index}",
                rng.integers(-128, 128, shape),
                (*(int(n) for n in rng.integers(8, 12, 2)), shape[3] * groups),
                stride=tuple(int(n) for n in rng.integers(1, 4, 2)),  # type: ignore[arg-type]
                padding=tuple(int(n) for n in rng.integers(0, 4, 2)),  # type: ignore[arg-type]
                dilation=tuple(int(n) for n in rng.integers(1, 3, 2)),  # type: ignore[arg-type]
                groups=groups,
            )
        )
    for delay in (1, 3):
        weight = rng.integers(-127, 128, 30)
        layers.append(Sparse(f"delay{delay}", weight, delay=delay))
    program = chains(layers, rng, 8)
    fast = run(program, tmp_path / "fast")
    stock = run(replace(program, conv="stock"), tmp_path / "stock")
    for name in program.record:
        np.testing.assert_array_equal(fast.membranes[name], stock.membranes[name], name)
        assert fast.membranes[name].any(), name


def test_dense_and_sparse_weights_of_either_sign_are_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    ranges = {
        "mixed": (-127, 128, 1),
        "byte": (-128, 128, 1),
        "even": (-256, 256, 2),
        "positive": (0, 128, 1),
        "all positive": (0, 256, 1),
        "negative": (-127, 1, 1),
        "all negative": (-255, 1, 1),
        "small": (-3, 4, 1),
    }
    layers: list[Process] = []
    for name, (low, high, step) in ranges.items():
        name = name.replace(" ", "_")
        dense = rng.integers(low // step, high // step, (7, 12)) * step
        dense[0, :2] = low, high - step  # the ends are certainly there
        kind = np.int8 if -128 <= low and high <= 128 else np.int16
        layers.append(Dense(f"dense.{name}", dense.astype(kind)))
        for delay in (0, 1, 2, 5):
            weight = rng.integers(low // step, high // step, 12) * step
            weight[:2] = low, high - step
            layers.append(Sparse(f"sparse.{name}.{delay}", weight.astype(kind), delay=delay))
    program = chains(layers, rng, 12)
    assert_equal(program, run(program, tmp_path))


def test_sparse_synapses_by_row_and_column(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    pairs = rng.permutation(6 * 10)[:25]
    rows, columns = pairs // 10, pairs % 10
    weight = rng.integers(-127, 128, 25)
    layers: list[Process] = [
        Sparse(f"sparse{delay}", weight, delay, rows, columns, (6, 10)) for delay in (0, 2)
    ]
    program = chains(layers, rng, 10)
    assert_equal(program, run(program, tmp_path))


def test_leak_bias_and_thresholds_of_single_neurons(tmp_path: Path) -> None:
    """Neuron layers side by side, with numbers and with arrays for threshold and bias."""
    rng = np.random.default_rng(5)
    shape = (4, 3, 2)
    frames = spikes(rng, 38, *shape)
    thresholds = rng.integers(0, 200, shape)
    biases = rng.integers(-60, 90, shape)
    neurons: list[Process] = [
        Lif("leak", shape, 90, dv=700, bias=-5),
        Lif("current", shape, 150, du=1000, dv=300),
        Lif("array", shape, thresholds, bias=biases, dv=12),
        Lif("bias_exp", shape, 70, bias=biases, bias_exp=2, reset_interval=7, reset_offset=3),
        Lif("extreme", shape, NEVER, bias=4095, bias_exp=7),
        SoftIf("soft", shape, 90, 91),
        SoftIf("soft.leak", shape, 40, 100, bias=-3, dv=513),
        SoftIf("soft.array", shape, thresholds, thresholds + 1, bias=biases, dv=100),
        SoftIf("soft.reset", shape, 30, 60, bias=7, reset_interval=5, reset_offset=12),
        SoftIf("soft.current", shape, 150, 60, bias=2, du=1000, dv=300),
        SoftIf("soft.down", shape, NEVER, 1, bias=-4096),
    ]
    program = Program(
        processes=(
            Source("in", shape, frames),
            Sparse("weights", rng.integers(-127, 128, 24)),
            *neurons,
        ),
        connections=(
            Connection("in", "weights", "flatten"),
            *(Connection("weights", neuron.name, shape) for neuron in neurons),
        ),
        steps=40,
        record=tuple(neuron.name for neuron in neurons),
        record_v=tuple(neuron.name for neuron in neurons),
    )
    result = run(program, tmp_path)
    assert_equal(program, result)
    firing = [name for name in program.record if result.spikes[name].any()]
    assert set(program.record) - set(firing) == {"soft.down"}


def test_membranes_saturate_at_24_bits(tmp_path: Path) -> None:
    ones = np.full((3, 1100), 127)
    program = Program(
        processes=(
            Source("in", (1100,), np.ones((8, 1100), np.uint8)),
            Dense("up", ones),
            Dense("down", -ones),
            Lif("lif.down", (3,), 5, reset_interval=6, reset_offset=2),
            SoftIf("soft.up", (3,), NEVER, 1000),
            SoftIf("soft.down", (3,), 5, 5),
        ),
        connections=(
            Connection("in", "up"),
            Connection("in", "down"),
            Connection("down", "lif.down"),
            Connection("up", "soft.up"),
            Connection("down", "soft.down"),
        ),
        steps=8,
        record=("soft.up",),
        record_v=("lif.down", "soft.up", "soft.down"),
    )
    result = run(program, tmp_path)
    assert_equal(program, result)
    assert result.membranes["soft.down"].min() == -(2**23 - 1)
    assert result.spikes["soft.up"].any()


@pytest.mark.parametrize("soft", [False, True])
def test_samples_back_to_back_equal_samples_alone(soft: bool, tmp_path: Path) -> None:
    """Resets that travel with the samples through three layers, against one run a sample."""
    rng = np.random.default_rng(7)
    samples, window, shape, depth = 5, 4, (5, 4, 3), 3
    frames = spikes(rng, samples * window, *shape)
    weights = [rng.integers(-40, 60, (3, 3, 3, 3)) for _ in range(depth)]
    bias = np.broadcast_to(rng.integers(-20, 30, 3), shape)

    def network(data: Any, interval: int) -> Program:
        processes: list[Process] = [Source("n0", shape, data)]
        connections: list[Connection] = []
        for k in range(1, depth + 1):
            reset = {"reset_interval": interval, "reset_offset": 1 + k if interval else 0}
            processes += [
                Conv(f"c{k}", weights[k - 1], shape, padding=(1, 1)),
                SoftIf(f"n{k}", shape, 69, 60, bias=bias, **reset)
                if soft
                else Lif(f"n{k}", shape, 69, bias=bias, **reset),
            ]
            connections += [Connection(f"n{k - 1}", f"c{k}"), Connection(f"c{k}", f"n{k}")]
        names = tuple(f"n{k}" for k in range(1, depth + 1))
        return Program(tuple(processes), tuple(connections), len(data) + depth, names, ("n3",))

    together = network(frames, window)
    result = run(together, tmp_path)
    assert_equal(together, result)
    # A constant bias works before a sample arrives; the reset is what makes samples independent.
    for sample in range(samples):
        part = frames[sample * window : (sample + 1) * window]
        current = part.astype(np.int64)
        for k in range(1, depth + 1):
            v, made = np.zeros(shape, np.int64), []
            for t in range(window):
                v = v + same_size_convolution(weights[k - 1], current[t]) + bias
                fired = v > 69
                v = np.where(fired, v - 60 if soft else 0, v)
                made.append(fired.astype(np.int64))
            current = np.stack(made)
            start = sample * window + k
            np.testing.assert_array_equal(result.spikes[f"n{k}"][start : start + window], current)
    assert 0.02 < result.spikes["n3"].mean() < 0.98


def same_size_convolution(weight: Any, frame: Any) -> Any:
    """3x3 convolution with padding 1 as nine shifted products, unlike the reference's loops."""
    padded = np.pad(frame, ((1, 1), (1, 1), (0, 0)))
    width, height = frame.shape[:2]
    out = np.zeros((width, height, len(weight)), np.int64)
    for i in range(3):
        for j in range(3):
            out += padded[i : i + width, j : j + height] @ weight[:, 2 - i, 2 - j, :].T
    return out


def test_gates_have_no_memory_and_no_latency(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    a, b = spikes(rng, 60, 5), spikes(rng, 60, 5)
    c, d = spikes(rng, 60, 6, 4, 3, rate=0.1), spikes(rng, 60, 5)
    program = Program(
        processes=(
            Source("a", (5,), a),
            Source("b", (5,), b),
            Source("d", (5,), d),
            Source("image", (6, 4, 3), c),
            Lif("or", (5,), 0, **MEMORYLESS),
            Lif("and", (5,), 1, **MEMORYLESS),
            Lif("and3", (5,), 2, **MEMORYLESS),
            Conv("window", np.ones((3, 2, 2, 1), int), (6, 4, 3), stride=(2, 2), groups=3),
            Lif("pool", (3, 2, 3), 0, **MEMORYLESS),
        ),
        connections=(
            *(Connection(s, gate) for s in "ab" for gate in ("or", "and")),
            *(Connection(s, "and3") for s in "abd"),
            Connection("image", "window"),
            Connection("window", "pool"),
        ),
        steps=60,
        record=("or", "and", "and3", "pool"),
    )
    result = run(program, tmp_path)
    np.testing.assert_array_equal(result.spikes["or"], a | b)
    np.testing.assert_array_equal(result.spikes["and"], a & b)
    np.testing.assert_array_equal(result.spikes["and3"], a & b & d)
    pooled = c.reshape(60, 3, 2, 2, 2, 3).max((2, 4))
    np.testing.assert_array_equal(result.spikes["pool"][1:], pooled[:-1])


def test_a_residual_block_with_fan_in_flatten_and_readout(tmp_path: Path) -> None:
    """Skip aligned by a delay, spikes and currents summed at one port, membrane at sample ends."""
    rng = np.random.default_rng(9)
    shape, window, samples, depth = (4, 3, 2), 4, 4, 4
    program = Program(
        processes=(
            Source("in", shape, spikes(rng, window * samples, *shape)),
            Conv("c1", rng.integers(-60, 90, (2, 3, 3, 2)), shape, padding=(1, 1)),
            Lif("n1", shape, 50, reset_interval=window, reset_offset=2),
            Conv("c2", rng.integers(-60, 90, (2, 3, 3, 2)), shape, padding=(1, 1)),
            Sparse("skip", rng.integers(-127, 128, 24), delay=1),
            Sparse("short", rng.integers(-127, 128, 24)),
            Lif("n2", shape, 60, reset_interval=window, reset_offset=3),
            Dense("fc", rng.integers(-127, 128, (10, 24))),
            Lif("readout", (10,), NEVER, reset_interval=window, reset_offset=4),
        ),
        connections=(
            Connection("in", "c1"),
            Connection("c1", "n1"),
            Connection("n1", "c2"),
            Connection("in", "skip", "flatten"),
            Connection("n1", "short", "flatten"),
            Connection("c2", "n2"),
            Connection("skip", "n2", shape),
            Connection("short", "n2", shape),
            Connection("n2", "fc", "flatten"),
            Connection("fc", "readout"),
        ),
        steps=window * samples + depth,
        record=("in", "n1", "n2"),
        record_v=("readout",),
        record_v_interval=window,
        record_v_offset=window - 1 + depth,
    )
    result = run(program, tmp_path)
    assert_equal(program, result)
    # From t = 3 on: before the first reset at t = 4 there is one row of the filling pipeline.
    assert result.membranes["readout"].shape == (samples + 1, 10)
    assert result.membranes["readout"].any()


def test_a_source_from_a_file_and_recordings_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    frames = spikes(rng, 20, 6)
    folder, kept = tmp_path / "program", tmp_path / "kept"
    folder.mkdir()
    kept.mkdir()
    np.save(folder / "in.npy", frames)
    program = Program(
        (Source("in", (6,)), Lif("n", (6,), 0, **MEMORYLESS)), (Connection("in", "n"),), 25, ("n",)
    )
    write(program, folder)
    seen: list[tuple[int, int]] = []
    result = run_guarded(folder, timeout=60, keep=kept, on_progress=lambda *step: seen.append(step))
    np.testing.assert_array_equal(result.spikes["n"][:20], frames)
    assert not result.spikes["n"][20:].any()
    assert sorted(path.name for path in kept.iterdir()) == ["membranes.npy", "spikes.npy"]
    assert seen[-1] == (25, 25)
    assert seen == sorted(seen)
