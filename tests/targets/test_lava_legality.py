"""What Lava's registers hold, against Lava's own functions; and that what is not held is found."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.strategies import FIXED, Draft, chip_graphs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Conv2d, Linear, Neuron, Scale
from purespike.targets.lava.lower.legality import held, registers, scaled, sign_mode
from purespike.targets.lava.program.program import Dense, Sparse
from purespike.targets.lava.run import python as interpreter
from purespike.targets.spec import LOIHI2

LAVA = """
import sys
import numpy as np
from lava.utils.weightutils import clip_weights, determine_sign_mode, truncate_weights
cases = np.load(sys.argv[1])
out = {}
for name in cases.files:
    w = cases[name]
    mode = determine_sign_mode(w)
    clipped = clip_weights(w, sign_mode=mode, num_bits=8)
    out[name] = truncate_weights(clipped, sign_mode=mode, num_weight_bits=8)
    out[name + "_mode"] = mode.name.lower()
np.savez(sys.argv[2], **out)
"""


def test_mantissas_are_decoded_as_lava_decodes_them(tmp_path: Path) -> None:
    r = np.random.default_rng(0)
    ends = [(-400, 400), (0, 400), (-400, 1), (-256, 256), (0, 256), (-255, 1), (-3, 4)]
    cases = {f"w{i}": r.integers(*end, (9, 7)) for i, end in enumerate(ends)}
    np.savez(tmp_path / "in.npz", **cases)  # type: ignore[arg-type]
    python = interpreter.python()
    command = [python, "-c", LAVA, str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    done = subprocess.run(
        command, env=interpreter.environment(python), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "out.npz") as lava:
        for name, weights in cases.items():
            assert sign_mode(weights) == str(lava[name + "_mode"])
            np.testing.assert_array_equal(held(weights), lava[name])


@pytest.mark.parametrize(
    ("weights", "status", "text"),
    [
        ([-127, 0, 127], "PASS", "mixed weights, mantissas -254 to 254, exponent -1: 0 of 3"),
        ([-128, 127], "PASS", "mixed weights, mantissas -256 to 254"),
        ([-128, -1], "PASS", "inhibitory weights, mantissas -128 to -1, exponent 0: 0 of 2"),
        ([-255, 0], "PASS", "inhibitory weights, mantissas -255 to 0, exponent 0"),
        ([-256, 0], "FAIL", "inhibitory weights, mantissas -256 to 0, exponent 0: 1 of 2"),
        ([-198, 198], "PASS", "mixed weights, mantissas -198 to 198, exponent 0: 0 of 2"),
        ([-256, 254], "PASS", "mixed weights, mantissas -256 to 254, exponent 0: 0 of 2"),
        ([-198, 197], "FAIL", "mixed weights, mantissas -198 to 197, exponent 0: 1 of 2"),
        ([0, 127], "PASS", "excitatory weights, mantissas 0 to 254"),
        ([0, 255], "PASS", "excitatory weights, mantissas 0 to 255, exponent 0: 0 of 2"),
        ([0, 256], "FAIL", "1 of 2 not held"),
    ],
)
def test_the_ends_of_signed_weights(weights: list[int], status: str, text: str) -> None:
    for process in (Dense("d", np.array([weights])), Sparse("d", np.array(weights))):
        finding = scaled(process)
        assert (finding.rule.id, finding.status, finding.where) == ("PS008", status, "Lava d")
        assert text in finding.measured


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(-130, 130), min_size=1, max_size=5),
    st.sampled_from((1, 2, 4)),
    st.sampled_from((-1, 0, 1)),
)
def test_the_chips_table_and_lavas_registers_are_of_one_mind(
    values: list[int], factor: int, sign: int
) -> None:
    """Two computations: the table by ranges, the registers by what Lava makes of the mantissas."""
    weight = np.array(values) * factor
    weight = sign * np.abs(weight) if sign else weight
    held_by_lava = scaled(Dense("d", weight.reshape(1, -1))).status == "PASS"
    assert LOIHI2.holds(weight) == held_by_lava


def readout(*, weight: float = 1.0, bias: float = 0.0, steps: int = 2) -> Graph:
    draft = Draft((1, 3, 3), steps)
    conv = draft.put(Conv2d(np.full((1, 1, 3, 3), weight), np.array([bias])), "x")
    neuron = draft.put(Neuron(2.0, fixed=FIXED), conv)
    scores = draft.put(Scale(np.array(127.0)), neuron)
    return draft.graph(draft.put(Neuron(np.inf, reset="none", fixed=FIXED), scores))


def broken(graph: Graph) -> list[Any]:
    return [(f.where, f.measured) for f in registers(graph) if f.status != "PASS"]


def test_every_process_has_its_finding_and_what_cannot_run_is_one_that_fails() -> None:
    assert broken(readout()) == []
    assert len(list(registers(readout()))) == 4
    assert broken(readout(weight=255.0)) == []
    assert "256..256" in broken(readout(weight=256.0))[0][1]
    assert "out of range" in broken(readout(bias=5000.0))[0][1]
    ((where, measured),) = broken(readout(steps=1100))
    assert "the readout could fire" in measured and where.startswith("Lava ")


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(chip_graphs(max_steps=2))
def test_integer_graphs_are_held(graph: Graph) -> None:
    assert broken(graph) == []


def test_linear_layers_are_doubled_and_convolutions_plain() -> None:
    draft = Draft((3,), 2)
    layer = draft.put(Linear(np.array([[-127.0, 2, 3]])), "x")
    graph = draft.graph(draft.put(Neuron(1.0, fixed=FIXED), layer))
    (synapse,) = [
        f for f in registers(graph) if "mantissas" in f.measured and "vth" not in f.measured
    ]
    assert "mantissas -254 to 6, exponent -1" in synapse.measured
