"""The fidelity table: each cell is what happens when it is tried, and is printed as it is."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from helpers.fidelity import documented, tried
from helpers.fidelity_rows import ROWS
from helpers.nir_cases import samples
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.errors import UsageError
from purespike.compiler.ir.graph import IRError
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import FixedPoint, Neuron, RectifiedNeuron
from purespike.targets.fidelity.table import COLUMNS, markdown, read_table
from purespike.targets.lava.run.simulate import simulate

TABLE = {row.name: row.cells for row in read_table()}
OURS = ("", "our process SoftIF")  # as it is, without a pass before
LAVA = [n for n, c in TABLE.items() if c["lava"].outcome != "refused" and c["lava"].words in OURS]


def test_the_table_has_every_row_and_every_column() -> None:
    assert list(TABLE) == list(ROWS)
    assert all(list(cells) == list(COLUMNS) for cells in TABLE.values())


@pytest.mark.parametrize("column", COLUMNS)
def test_every_cell_is_what_happens(column: str) -> None:
    if column == "c" and shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    found = {name: tried(graph(), column) for name, graph in ROWS.items()}
    assert found == {name: cells[column] for name, cells in TABLE.items()}, (
        "run PYTHONPATH=tests python tests/helpers/fidelity.py"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", LAVA)
def test_lava_itself_runs_what_it_holds(name: str) -> None:
    graph = ROWS[name]()
    (x,) = samples(graph, batch=2, seed=1).values()
    wanted, found = run(graph, x), simulate(graph, x.astype(np.uint8), jobs=1)
    assert found.spikes or found.membranes
    for layer, spikes in found.spikes.items():
        assert np.array_equal(spikes, wanted.values[layer]), layer
    for layer, membranes in found.membranes.items():
        assert np.array_equal(membranes, wanted.membranes[layer]), layer


def test_the_documented_table_is_the_one_that_is_printed() -> None:
    assert documented() == markdown(read_table())


def test_the_command_prints_it() -> None:
    done = CliRunner().invoke(app, ["targets", "--json"])
    rows = json.loads(done.output)
    assert {r["name"]: r["cells"]["lava"]["outcome"] for r in rows} == {
        name: cells["lava"].outcome for name, cells in TABLE.items()
    }
    one = CliRunner().invoke(app, ["targets", "--to", "netx"])
    assert one.exit_code == 0 and "netx resets to zero only" in " ".join(one.output.split())
    everything = CliRunner().invoke(app, ["targets"]).output
    assert all(word in everything for word in ("lower_gates", "refused", "exact"))
    with pytest.raises(UsageError, match="no such target"):
        CliRunner().invoke(app, ["targets", "--to", "tpu"], catch_exceptions=False)


def test_a_rectified_neuron_in_fixed_point_is_refused_before_any_target_takes_it_for_another() -> (
    None
):
    Neuron(np.array(1.0), fixed=FixedPoint())
    with pytest.raises(IRError, match="rectificator"):
        RectifiedNeuron(np.array(1.0), fixed=FixedPoint())
