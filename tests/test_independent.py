"""PS014: two programs, one verdict, on files as they lie on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nir
import numpy as np
import pytest
from adversarial import breaking_graphs
from helpers.checker_cases import edit, insert, residual
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.checker import inspect
from purespike.compiler.checker.statement import read_statement
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.rules.finding import Finding
from purespike.compiler.rules.policy import Policy, read_policy
from purespike.judge.compiled import static_findings
from purespike.judge.independent import check_graph, compare_verdicts, second_verdict
from purespike.targets.nir.emit import to_bytes, to_document, write_nir
from purespike.targets.nir.errors import NirError
from purespike.targets.nir.foreign.read import Conventions
from purespike.targets.nir.guard.guard import load
from purespike.targets.nir.read import read_nir

pytestmark = pytest.mark.usefixtures("parsed_here")


def of_rule(findings: list[Finding]) -> Finding:
    (found,) = [f for f in findings if f.rule.id == "PS014"]
    return found


@pytest.mark.parametrize("strict", [False, True])
def test_a_good_file_is_good_twice(tmp_path: Path, strict: bool) -> None:
    path = tmp_path / "model.nir"
    write_nir(residual(), path, strict=strict)
    finding = of_rule(static_findings(read_nir(path), second=second_verdict(load(path))))
    assert finding.status == "PASS"
    assert finding.measured.endswith("spike-only; the rules on the graph: spike-only")


def test_a_changed_file_and_the_graph_that_it_came_from_disagree(tmp_path: Path) -> None:
    path = tmp_path / "model.nir"
    write_nir(residual(), path)

    def halve(nodes: object, edges: list[tuple[str, str]]) -> None:
        insert(nodes, edges, ("n1", "conv2"), type="Scale", scale=[[[0.5] * 4] * 4] * 2)

    edit(path, halve)
    finding = of_rule(static_findings(residual(), second=second_verdict(load(path))))
    assert finding.status == "FAIL" and "report this file" in finding.remedy
    assert "conv2: synapse, multiples of 0.5, 0 to 0.5, from inserted (Scale)" in finding.measured
    assert finding.measured.endswith("the rules on the graph: spike-only")


def test_a_compiler_that_is_wrong_about_its_graph_is_found_out() -> None:
    """Broken rules that the file does not show are a disagreement, too."""
    graph = residual()
    findings = static_findings(graph)
    broken = [
        Finding(f.rule, f.where, "FAIL", "by mistake") if f.rule.id == "PS001" else f
        for f in findings
    ]
    document = to_document(graph)
    second = inspect(document.nodes, document.edges, read_statement(document.metadata))
    (finding,) = compare_verdicts(second, broken, leak_multiplies=False)
    assert finding.status == "FAIL"
    assert "spike-only; the rules on the graph: NOT spike-only (PS001 at conv1" in finding.measured
    assert "and 2 more" in finding.measured


def leaky() -> Graph:
    (case,) = [c for c in breaking_graphs.corpus.cases if c.name == "leak"]
    graph = case.make()
    assert isinstance(graph, Graph)
    return graph


@pytest.mark.parametrize("policy", ["strict", "leaky"])
def test_a_policy_excepts_a_leak_in_both(policy: str) -> None:
    chosen: Policy = read_policy(policy)
    findings = static_findings(leaky(), chosen)
    assert of_rule(findings).status == "PASS"
    assert ("leak" in of_rule(findings).measured) == (policy == "strict")
    assert any(f.rule.id == "PS005" and f.status == "FAIL" for f in findings) == (
        policy == "strict"
    )


def test_what_nir_cannot_say_is_not_run() -> None:
    first, *others = leaky().nodes
    graph = replace(leaky(), nodes=(replace(first, role="auxiliary"), *others))
    for strict in (False, True):
        (finding,) = check_graph(graph, [], leak_multiplies=True, strict=strict)
        assert finding.status == "NOT RUN" and "auxiliary" in finding.measured


def test_what_plain_nodes_cannot_say_is_judged_in_the_other_form() -> None:
    with pytest.raises(NirError, match="fixed-point"):
        to_bytes(leaky(), strict=True)
    (finding,) = check_graph(leaky(), [], leak_multiplies=True, strict=True)
    assert finding.status == "PASS"


def test_a_file_of_another_tool_is_judged_under_what_is_stated(tmp_path: Path) -> None:
    """The same conventions go to both; without them nothing is proved."""
    ones = np.ones(3)
    nodes = {
        "in": nir.Input(np.array([2])),
        "w": nir.Affine(np.ones((3, 2)), 0 * ones),
        "lif": nir.LIF(2e-3 * ones, 2 * ones, 0 * ones, ones),
        "out": nir.Output(np.array([3])),
    }
    path = tmp_path / "foreign.nir"
    nir.write(path, nir.NIRGraph(nodes, [("in", "w"), ("w", "lif"), ("lif", "out")]))
    kinds = {p.kind for p in second_verdict(load(path)).problems}
    assert kinds == {"input", "synapse", "leak"}
    stated = Conventions(1e-3, "zero", None, 4, SPIKE)
    assert {p.kind for p in second_verdict(load(path), stated).problems} == {"leak"}


def test_the_command_asks_for_it(tmp_path: Path) -> None:
    write_nir(residual(), tmp_path / "model.nir")
    result = CliRunner().invoke(app, ["check", "--static", str(tmp_path / "model.nir")])
    assert result.exit_code == 0 and "PS014" in result.output
