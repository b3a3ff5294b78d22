"""What other tools say in the metadata of a NIR graph is taken, named, and not contradicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.ops import Neuron
from purespike.flow.inputs.exchange import read_file
from purespike.flow.inputs.load import load_subject
from purespike.flow.inputs.stated import Stated
from purespike.targets.nir.errors import NirFileError
from purespike.targets.nir.read import read_nir

pytestmark = pytest.mark.usefixtures("parsed_here")


def file(path: Path, **metadata: Any) -> Path:
    ones = np.ones(3)
    nodes = {
        "in": nir.Input(np.array([2])),
        "w": nir.Linear(np.array([[0.5, 1.0], [1.0, -0.3], [0.7, 0.7]])),
        "n": nir.LIF(4e-3 * ones, 4 * ones, 0 * ones, ones),
        "out": nir.Output(np.array([3])),
    }
    edges = [("in", "w"), ("w", "n"), ("n", "out")]
    nir.write(path / "m.nir", nir.NIRGraph(nodes, edges, metadata=metadata))
    return path / "m.nir"


def test_dt_and_reset_are_taken_from_it(tmp_path: Path) -> None:
    path = file(tmp_path, dt=1e-3, reset_mechanism="subtract", author="someone", notes={"dt": "1"})
    graph = read_nir(path, steps=4, domain=SPIKE, fires="above")
    op = graph.nodes[-1].op
    assert graph.dt == 1e-3 and isinstance(op, Neuron)
    assert op.reset == "subtract" and op.decay == 0.75
    assert read_nir(path, steps=4, dt=1e-3, reset="subtract", fires="at").dt == 1e-3


def test_the_report_says_so(tmp_path: Path) -> None:
    path = file(tmp_path, dt=1e-3, reset_mechanism="zero")
    stated = Stated(steps=4, spike_input=True, fires="above")
    subject = load_subject(str(path), stated)
    assert subject.name == "m.nir (dt 0.001, reset zero: from its metadata)"
    _, verdict, _ = read_file(path, stated)  # the second opinion knows dt, too
    assert verdict is not None and not [p for p in verdict.problems if "without a dt" in p.why]
    said = Stated(1e-3, "zero", None, 4, True, fires="above")
    assert load_subject(str(path), said).name == "m.nir"


@pytest.mark.parametrize(
    ("stated", "name"), [({"dt": 1e-4}, "dt"), ({"reset": "subtract"}, "reset")]
)
def test_a_contradiction_is_an_error(stated: Any, name: str, tmp_path: Path) -> None:
    path = file(tmp_path, dt=1e-3, reset_mechanism="zero")
    with pytest.raises(NirFileError, match=f"metadata says another {name}"):
        read_nir(path, steps=4, **stated)


@pytest.mark.parametrize(
    "metadata",
    [
        {"dt": "1 ms", "reset_mechanism": "none"},
        {"dt": np.array([1e-3, 1e-3]), "reset_mechanism": 1},
        {"dt": -1.0, "reset_mechanism": {"zero": 1}},
        {"dt": {"value": 1e-3}},
    ],
)
def test_what_has_another_form_says_nothing(metadata: Any, tmp_path: Path) -> None:
    with pytest.raises(NirFileError, match="leaves open: dt, reset"):
        read_nir(file(tmp_path, **metadata), steps=4)
