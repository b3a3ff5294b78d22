"""A case of the honesty corpus: something to judge, why it is hard, and the verdict it deserves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.compiler.ir.graph import Graph
from purespike.compiler.rules.finding import RULES, Finding
from purespike.compiler.rules.policy import STRICT, Policy
from purespike.flow.build import Options, Subject, build
from purespike.judge.compiled import bundle_findings, static_findings
from purespike.judge.static import STATIC
from purespike.targets.bundle.bundle import read_bundle


@dataclass(frozen=True)
class Trial:
    """A torch module with data; the labels are its own decisions where it makes any."""

    model: nn.Module
    shape: tuple[int, ...] = (2, 4, 4)
    steps: int = 3
    samples: int = 8
    inputs: NDArray[Any] | None = None
    domain: Domain = SPIKE
    policy: Policy = STRICT
    host_encoder: bool = False
    weight_bits: int = 8
    lava: str = "none"

    def spikes(self) -> NDArray[Any]:
        """(T, B, *shape): what was asked for, or random spikes."""
        if self.inputs is not None:
            return self.inputs
        r = np.random.default_rng(0)
        return (r.random((self.steps, self.samples, *self.shape)) < 0.4).astype(np.uint8)

    def subject(self) -> Subject:
        """The module with its data, batch norm statistics as left by the case."""
        x = self.spikes()
        model = self.model.eval()
        try:
            with torch.no_grad():
                result = model(torch.from_numpy(x.astype(np.float32)))
            logits = result["main"] if isinstance(result, dict) else result
            logits = logits.sum(0) if logits.dim() > 2 else logits
            labels = logits.argmax(1).numpy()
        except Exception:  # the case is about what the compiler says to a module that cannot run
            labels = np.zeros(x.shape[1], np.int64)
        return Subject("case", model, self.shape, x, labels, self.domain)


Tamper = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """What to judge.

    Attributes:
        name: A few words.
        why: One sentence: what it is, and why the verdict is hard or clear.
        expected: Broken rules as ``PS004 where``; a refusal as ``refused where``; a bundle that is
            not even read as ``refused file``. Empty: compliant.
        make: The module with its data, the graph, or what to do to a good bundle.
    """

    name: str
    why: str
    expected: tuple[str, ...]
    make: Callable[[], Trial | Graph | Tamper]


@dataclass
class Corpus:
    """The cases of one file, in order of writing."""

    cases: list[Case] = field(default_factory=list)

    def breaks(self, *expected: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
        """Add the decorated function as a case that deserves exactly these findings."""
        if not expected:
            raise ValueError("a case that is not compliant breaks at least one rule")
        return self._add(expected)

    def holds(self, make: Callable[[], Any]) -> Callable[[], Any]:
        """Add the decorated function as a case that is compliant."""
        return self._add(())(make)

    def _add(self, expected: tuple[str, ...]) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
        def add(make: Callable[[], Any]) -> Callable[[], Any]:
            why = " ".join((make.__doc__ or "").split())
            self.cases.append(Case(make.__name__, why, expected, make))
            return make

        return add


@dataclass(frozen=True)
class Outcome:
    """What purespike said: compliant as far as it was asked, and every reason why not."""

    compliant: bool
    said: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    refusal: PurespikeError | None = None


def judge(case: Case, good_bundle: Path | None = None, scratch: Path | None = None) -> Outcome:
    """Run one case through purespike.

    Args:
        case: What to judge.
        good_bundle: A bundle whose copies the tampering cases change.
        scratch: An empty folder for such a copy.
    """
    made = case.make()
    try:
        if isinstance(made, Trial):
            return _judge_trial(made)
        if isinstance(made, Graph):
            findings = tuple(static_findings(made))
            return _outcome(findings, {r.id for r in RULES if r.id in STATIC})
        if good_bundle is None or scratch is None:
            raise ValueError("a tampering case needs a bundle and a place")
        made(scratch)
        silent = {"lava": False, "progress": lambda stage, done, n: None}
        findings = bundle_findings(read_bundle(scratch), _lenient(STRICT), **silent)
        return _outcome(findings, {r.id for r in RULES})
    except PurespikeError as e:
        return Outcome(False, (f"refused {e.where}",), refusal=e)


def _judge_trial(trial: Trial) -> Outcome:
    options = Options(
        weight_bits=trial.weight_bits,
        host_encoder=trial.host_encoder,
        golden=4,
        lava=trial.lava,  # type: ignore[arg-type]
        lava_samples=4,
        policy=_lenient(trial.policy),
    )
    report = build(trial.subject(), options).report
    return _outcome(report.findings, {r.id for r in RULES})


def _lenient(policy: Policy) -> Policy:
    """Untrained networks decide by chance: their accuracy is not what is judged here."""
    return replace(policy, accuracy_drop=100.0)


def _outcome(findings: tuple[Finding, ...], rules: set[str]) -> Outcome:
    """Compliant if all ``rules`` ran and hold; a Lava run that nobody asked for is not a reason."""
    broken = [f for f in findings if f.status == "FAIL"]
    missing = [
        f for f in findings if f.status == "NOT RUN" and (f.rule.id, f.where) != ("PS010", "Lava")
    ]
    complete = not missing and {f.rule.id for f in findings} >= rules
    said = [f"{f.rule.id} {f.where}" for f in broken]
    said += [f"{f.rule.id} {f.where}" for f in missing]
    return Outcome(not broken and complete, tuple(dict.fromkeys(said)), findings)
