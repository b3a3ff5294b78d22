"""docs/depth.md holds what follows from the committed trainings."""

from dataclasses import replace
from pathlib import Path

import pytest

from purespike.trainer.training.recipe import read_recipe

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return pytest.importorskip("evidence_page")


def test_the_page_is_what_its_command_writes(page):
    text = page.PAGE.read_text()
    assert page.fill(text, page.load()) == text


def test_figures_show_the_trainings_that_exist(page, tmp_path):
    shown = {path.name: path.read_text() for path in (ROOT / "docs").glob("depth-*.svg")}
    names = ("accuracy", "curves", "gates", "layers", "methods")
    assert sorted(shown) == [f"depth-{name}.svg" for name in names]
    evidence = page.load()
    for method in page.METHODS:
        assert f">{method}</text>" in shown["depth-methods.svg"]
    for depth in page.DEPTHS:
        assert f">{depth}, AAP</text>" in shown["depth-layers.svg"]
    for gate in page.GATES:
        assert f">{gate.upper()}</text>" in shown["depth-accuracy.svg"]
    plain = [g for g in page.GATES if evidence.cell(("34", g, "vanilla", ""))]
    assert plain == [
        g for g in page.GATES if f">{g.upper()}, plain</text>" in shown["depth-gates.svg"]
    ]


def test_every_training_stands_once_with_its_commands(page):
    rows = [r for r in page.load().rows if r["data"] == "mnist-5k"]
    cells = [tuple(row[name] for name in page.NAMES) for row in rows]
    assert len(set(cells)) == len(cells) > 10
    for row in rows:
        assert 0 <= row["correct"] <= row["n"] == {"validation": 500, "test": 1000}[row["part"]]


def row(seed, correct, **more):
    cell = {"data": "mnist-5k", "network": "34", "gate": "or", "method": "AAP", "variant": ""}
    return (
        cell
        | {"seed": seed, "epochs": 8, "part": "validation", "correct": correct, "n": 500}
        | more
    )


def test_intervals_of_one_seed_and_of_several(page):
    assert page.share([row(0, 450)]) == "90.0 [87.1, 92.3]"  # Wilson, as statsmodels has it
    # Student's t with two degrees of freedom: 4.303 * 2 / sqrt(3) = 4.97
    three = [row(0, 440), row(1, 450), row(2, 460)]
    assert page.share(three) == "**90.0** [85.0, 95.0]"
    plain = [row(seed, 400, method="vanilla") for seed in range(3)]
    assert page.points(three, plain) == "**+10.0** [+5.0, +15.0]"
    assert page.points(three[:1], plain[1:]) == ""  # other seeds are other trainings
    key = ("34", "or", "AAP", "")
    assert page.Evidence(three, []).cell(key) == three
    assert page.Evidence(three[:2], []).cell(key) == three[:1]  # two say nothing of the spread
    # Newcombe (1998), method 10, for 56/70 - 48/80: 0.2000 [0.0524, 0.3339]
    a, b = row(0, 56, n=70), row(0, 48, n=80, method="vanilla")
    assert page.points([a], [b]) == "+20.0 [+5.2, +33.4]"


def test_a_page_without_a_place_for_a_table_is_refused(page):
    with pytest.raises(ValueError, match="0 places for the table methods"):
        page.fill("# Methods", page.Evidence([], []))


def test_the_shipped_recipe_is_the_best_cell(page):
    cells = pytest.importorskip("evidence_cells")
    cell = cells.settings("mnist-5k", "34", "or", "AAP", "", 0, 8, "test")
    assert read_recipe("mnist-34") == replace(cell, train=replace(cell.train, shift=True))
