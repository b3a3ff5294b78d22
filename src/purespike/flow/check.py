"""Judge what is there: a file or a bundle as it is, anything else by building it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from purespike.compiler.ir.graph import Graph
from purespike.compiler.report.formats.notebook import shown
from purespike.compiler.report.rows.found import found_data
from purespike.compiler.rules.finding import (
    RULES,
    Finding,
    Rule,
    compliant,
    fill_missing,
    headline,
)
from purespike.compiler.rules.waiver import apply_waivers
from purespike.compiler.wording import Advice
from purespike.errors import InputError
from purespike.flow.inputs.exchange import is_graph_file, read_file
from purespike.flow.inputs.stated import NIR, Stated
from purespike.judge.compiled import bundle_findings, static_findings
from purespike.judge.independent import second_verdict
from purespike.judge.static import STATIC, is_integer
from purespike.options import Options
from purespike.subject import Progress, Samples, silent
from purespike.targets.bundle.manifest import MANIFEST
from purespike.targets.nir.guard.guard import load

OWN: tuple[Rule, ...] = tuple(r for r in RULES if r.id in STATIC)  # a network alone decides these


@dataclass(frozen=True)
class Check:
    """A verdict without a bundle.

    Attributes:
        name: Of the network.
        findings: All of them, kept and broken, after policy and waivers.
        demanded: Rules that have to hold.
        policy: Name of what the team accepts.
        graph: Of a file or a bundle.
        to_compile: The network is not in integers yet; to compile it comes next.
        notes: Of a bundle: whose policy it is, and what of it differs from the one recorded.
    """

    name: str
    findings: tuple[Finding, ...]
    demanded: tuple[Rule, ...]
    policy: str
    graph: Graph | None = None
    to_compile: bool = False
    notes: tuple[str, ...] = ()

    @property
    def compliant(self) -> bool:
        """True if every rule that is demanded ran, and none is broken."""
        return compliant(self.findings, self.demanded)

    @property
    def headline(self) -> str:
        """The verdict in words."""
        return headline(self.findings, self.demanded, self.policy)

    def data(self) -> dict[str, Any]:
        """As JSON-ready data; findings as report.json has them."""
        return {
            "network": self.name,
            "compliant": self.compliant,
            "headline": self.headline,
            "policy": self.policy,
            "notes": list(self.notes),
            "demanded": [rule.id for rule in self.demanded],
            "to_compile": self.to_compile,
            "findings": found_data(self.findings),
        }

    def __repr__(self) -> str:
        """One line: the verdict."""
        failed = sum(f.status == "FAIL" for f in self.findings)
        count = len(self.findings)
        return f"Check({self.name!r}, {self.headline!r}, findings={count}, failed={failed})"

    def _repr_html_(self) -> str:
        """For notebooks: the verdict, and every finding that does not hold."""
        return shown(self.name, self.compliant, self.headline, self.findings)


def check(
    network: Any,
    samples: Samples | None = None,
    stated: Stated | None = None,
    options: Options | None = None,
    *,
    static: bool = False,
    recorded: bool = False,
    progress: Progress = silent,
) -> Check:
    """Judge a network, from its file alone where it has one.

    Args:
        network: All that `purespike.flow.inputs.given.as_subject` takes.
        samples: Of what has to be built to be judged.
        stated: What the network leaves open.
        options: Its policy, waivers, ``host_encoder``, and ``lava``: without it PS010 stays open.
        static: Only the rules that the network alone decides.
        recorded: Judge a bundle by the policy that its report records, not that of ``options``.
        progress: Called with (stage, done, total).

    Raises:
        PurespikeError: As the readers of files and bundles, and `purespike.flow.build.build`.
        PolicyError: If the recorded policy has no meaning.
    """
    stated, options = stated or Stated(), options or Options()
    demanded = OWN if static else RULES
    path = Path(network) if isinstance(network, str | os.PathLike) else None
    name, graph, to_compile, waivers = "", None, False, options.waivers
    policy, notes = options.policy, tuple[str, ...]()
    if path is not None and samples is None and is_graph_file(path):
        if stated.data is not None:
            raise InputError(
                Advice("a network in a file is judged without data: {data} has no use here"),
                where=str(path),
                found=str(stated.data),
                remedy=f"leave it out; `purespike compile {path}` with the same arguments measures "
                "accuracy and costs on the data",
            )
        stated.refuse("a check of a file", *NIR, "shape")
        graph, second, name = read_file(path, stated)
        to_compile = not is_integer(graph)
        held = static_findings(graph, policy, second)
        findings = fill_missing(held, "needs a bundle")
    elif path is not None and samples is None and (path / MANIFEST).is_file():
        stated.refuse("a bundle")
        # All writers: a file needs none.
        from purespike.flow.recorded_policy import settle_policy
        from purespike.targets.bundle.bundle import read_bundle, unreplaced

        bundle = read_bundle(path)
        policy, notes = settle_policy(bundle, None if recorded else policy, waivers)
        name, graph = path.name, bundle.graph
        if static:
            with unreplaced(path, bundle.manifest):
                document = load(path / "model.nir")
            held = static_findings(graph, policy, second_verdict(document))
            findings = fill_missing(held, "not a static rule")
        else:
            findings = bundle_findings(
                bundle,
                policy,
                lava=options.lava != "none",
                progress=progress,
            )
    else:
        name, findings = _built(network, samples, stated, options, progress)
        waivers = None  # the build has applied them
    if static:
        findings = tuple(f for f in findings if f.rule.id in STATIC)
    findings = apply_waivers(findings, waivers)
    return Check(name, findings, demanded, policy.name, graph, to_compile, notes)


def _built(
    network: Any,
    samples: Samples | None,
    stated: Stated,
    options: Options,
    progress: Progress,
) -> tuple[str, tuple[Finding, ...]]:
    """Every finding of a build: what has no files yet has to be compiled to be judged."""
    if isinstance(network, str | os.PathLike):
        from purespike.flow.inputs.opening import open_source

        # What is missing is said before torch loads.
        network = open_source(os.fspath(network), stated, samples)
    from purespike.flow.build import build
    from purespike.flow.inputs.given import as_subject

    subject = as_subject(network, samples, stated)
    return subject.name, build(subject, options, progress).findings
