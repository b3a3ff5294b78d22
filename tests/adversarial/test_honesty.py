"""No wrong verdict: every case of the corpus through purespike."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from adversarial import (
    breaking_graphs,
    breaking_modules,
    bundles,
    holding_graphs,
    holding_modules,
    levels,
)
from adversarial.case import Case, Outcome, judge

pytestmark = pytest.mark.usefixtures("parsed_here")

CORPUS = [
    case
    for module in (breaking_modules, breaking_graphs, holding_modules, holding_graphs, levels)
    for case in module.corpus.cases
]
NAMED = [pytest.param(case, id=case.name) for case in CORPUS]
TAMPERED = [pytest.param(case, id=case.name) for case in bundles.corpus.cases]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good bundle."""
    folder = tmp_path_factory.mktemp("good") / "bundle"
    bundles.write_good_bundle(folder)
    return folder


def check(case: Case, outcome: Outcome) -> None:
    if not case.expected:
        assert outcome.compliant, outcome.said or outcome.refusal
        return
    assert not outcome.compliant, f"silently passed: {case.why}"
    for expected in case.expected:
        rule, _, where = expected.partition(" ")
        # Every broken rule at its place; a rule without a place may break anywhere.
        said = {s for s in outcome.said if s.split(" ")[0] == rule and s.endswith(where)}
        assert said, (expected, outcome.said)
    if outcome.refusal is not None:
        assert outcome.refusal.where and (outcome.refusal.remedy or outcome.refusal.allowed)
    for finding in outcome.findings:
        if finding.status == "FAIL":
            assert finding.where and finding.measured and (finding.remedy or finding.limit)


@pytest.mark.parametrize("case", NAMED)
def test_the_verdict_is_right(case: Case) -> None:
    check(case, judge(case))


@pytest.mark.parametrize("case", TAMPERED)
def test_a_changed_bundle_is_found_out(case: Case, bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    check(case, judge(case, bundle, copy))


def test_the_corpus_is_large_and_says_why() -> None:
    cases = [*CORPUS, *bundles.corpus.cases]
    assert len({case.name for case in cases if case.expected}) >= 40
    assert len({case.name for case in cases if not case.expected}) >= 40
    assert all(case.why.endswith((".", "?")) for case in cases)
