"""A network from a NIR file on its way through the passes to every target, spike for spike."""

from __future__ import annotations

from typing import Any

import numpy as np

from helpers.lava_reference import simulate as simulate_program
from helpers.nir_cases import differences
from helpers.onnx_cases import difference
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.verify import verify
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.judge.executors import make_golden
from purespike.judge.independent import second_verdict
from purespike.targets.bundle.golden_network import write_golden_network
from purespike.targets.bundle.replay import replay
from purespike.targets.lava.lower.emit import emit, from_lava
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.nir.emit import write_nir
from purespike.targets.nir.guard.guard import load
from purespike.targets.nir.read import read_nir
from purespike.targets.onnx import run_onnx, sequence_model, step_model


def random_spikes(graph: Graph, samples: int, seed: int = 0, rate: float = 0.5) -> Any:
    r = np.random.default_rng(seed)
    shape = (graph.steps, samples, *graph.inputs[0].shape)
    return (r.random(shape) < rate).astype(np.float64)


def quantized(graph: Graph, samples: int = 8) -> Graph:
    """The graph after every pass, in integers."""
    calibration = random_spikes(graph, samples, seed=1)
    passes = standard_pipeline(calibration=calibration)
    return compile_graph(graph, passes, random_spikes(graph, 4, seed=2)).graph


def agree_on_onnx_and_nir(chip: Graph, x: Any, folder: Any) -> None:
    """ONNX in both forms, states too; our NIR, read again; the independent check of it."""
    verify(chip)
    wanted = run(chip, x)
    for model in (step_model(chip), sequence_model(chip)):
        assert difference(wanted, run_onnx(model, chip, x), chip) == ""
    write_nir(chip, folder / "chip.nir")
    assert differences(chip, read_nir(folder / "chip.nir")) == []
    verdict = second_verdict(load(folder / "chip.nir"))
    assert verdict.judged(leak_multiplies=True) == ()


def agree_on_replay(chip: Graph, x: Any, folder: Any) -> None:
    """The golden network by numpy alone, against the golden vectors."""
    golden = make_golden(chip, x, np.zeros(x.shape[1], np.int64))
    arrays: dict[str, Any] = {"inputs": golden.inputs}
    arrays |= {f"spikes/{n}": a for n, a in golden.spikes.items()}
    arrays |= {f"membranes/{n}": a for n, a in golden.membranes.items()}
    np.savez(folder / "golden.npz", **arrays)
    write_golden_network(chip, folder)
    rows = replay(folder)
    assert rows and [row for row in rows if row.different] == []


def agree_on_lava(chip: Graph, x: Any) -> None:
    """Every layer of Lava's processes, each computed from its definition."""
    wanted, plan = run(chip, x), schedule(chip)
    program = emit(chip, plan, x)
    spiked, membranes = simulate_program(program)
    rows = {n: (spiked[n], wanted.values[n]) for n in program.record}
    rows |= {n: (membranes[n], wanted.membranes[n]) for n in program.record_v}
    assert rows
    for name, (found, values) in rows.items():
        value = from_lava(found, chip.steps, x.shape[1], plan.depth[name], plan.gap)
        np.testing.assert_array_equal(value, values, err_msg=name)
