"""What may wrap around is refused before any file is written; what saturates is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Graph
from purespike.compiler.ir.graph import build as graph_from
from purespike.compiler.ir.ops import FixedPoint, Linear, Neuron
from purespike.compiler.proofs.widths import WidthError, require_widths, unproved
from purespike.compiler.report.evidence import Evidence, Judged
from purespike.compiler.report.report import Report
from purespike.compiler.rules.policy import STRICT
from purespike.flow.build import build
from purespike.options import Options
from purespike.subject import Subject
from purespike.targets.bundle.bundle import write_bundle
from purespike.trainer.nn.layers import Flatten
from purespike.trainer.nn.neuron import IF

LIMIT = 131071


def one_neuron(inputs: int, weight: float, steps: int = 1) -> Graph:
    edge = Edge("x", (inputs,), SPIKE)
    nodes = [
        ("l", Linear(np.full((1, inputs), weight)), ("x",)),
        ("n", Neuron(1000.0, fixed=FixedPoint()), ("l",)),
    ]
    return graph_from((edge,), nodes, ("n",), steps)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_last_sum_that_fits_and_the_first_that_does_not(sign: float) -> None:
    fits = one_neuron(1032, sign * 127.0)  # 131064
    assert unproved(require_widths(fits, current_limit=LIMIT)) == []
    with pytest.raises(WidthError, match="may leave its register") as e:
        require_widths(one_neuron(1033, sign * 127.0), current_limit=LIMIT)  # 131191
    assert e.value.where == "%n (module n)" and "131191" in e.value.found
    assert e.value.allowed.startswith("+-131071")


def test_what_saturates_is_not_refused() -> None:
    bounds = require_widths(one_neuron(500, -127.0, steps=9), current_limit=LIMIT)
    assert bounds["n"].verdict == "saturates"


def test_unknown_sums_are_refused() -> None:
    endless = Edge("x", (3,), SPIKE.__class__(-np.inf, np.inf, 1))
    nodes = [("l", Linear(np.ones((1, 3))), ("x",)), ("n", Neuron(1.0), ("l",))]
    with pytest.raises(WidthError):
        require_widths(graph_from((endless,), nodes, ("n",), 1), current_limit=LIMIT)


def test_no_bundle_holds_a_network_that_may_wrap(tmp_path: Path) -> None:
    graph = one_neuron(1033, 127.0)
    folder = tmp_path / "bundle"
    report = Report.of(Judged("case", "loihi2", STRICT, None, {}, 4, {}, {}), (), Evidence())
    with pytest.raises(WidthError):
        write_bundle(folder, report=report, options={}, versions={}, graph=graph)
    assert not folder.exists()


def test_build_reports_a_network_that_may_wrap_and_writes_no_model(tmp_path: Path) -> None:
    layer = nn.Linear(1100, 2, bias=False)
    nn.init.constant_(layer.weight, 0.3)  # 127 in integers: 139700 in all
    net = nn.Sequential(Flatten(), layer, IF())
    spikes = np.ones((2, 4, 1, 50, 22), np.uint8)
    subject = Subject("wide", net, (1, 50, 22), spikes, np.zeros(4, np.int64))
    result = build(subject, Options(golden=2, lava="none"))
    broken = [f.rule.id for f in result.report.findings if f.status == "FAIL"]
    assert "PS006" in broken and result.golden is None
    result.save(tmp_path / "bundle")
    files = {p.name for p in (tmp_path / "bundle").iterdir()}
    assert files == {"report.json", "report.html", "manifest.json"}
