"""Findings as report.json has them: with all that is said of their rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from purespike.compiler.report.rows.basic import Number, Row, RuleId, Whole
from purespike.compiler.rules.finding import Accepted, Finding, Rule, Severity, Status


class AcceptedBy(Row, frozen=True):
    """Who answers for a broken finding, why, and until when."""

    who: str
    why: str
    until: str


class SparseInput(Row, frozen=True):
    """An input as [step, ..., value] for each value that is not 0, the first 1000."""

    shape: tuple[int, ...]
    nonzero: Whole
    values: tuple[tuple[Number, ...], ...]


class Witness(Row, frozen=True):
    """An input on which a run breaks the rule."""

    edge: str
    step: Whole
    index: tuple[Whole, ...]
    value: Number
    inputs: dict[str, SparseInput]


class Found(Row, frozen=True, omit_defaults=True):
    """A finding with all that is said of its rule."""

    rule: RuleId
    title: str
    why: str
    severity: Severity
    help: Annotated[str, Meta(description="page about the rule, relative to the repository")]
    where: str
    status: Status
    measured: str
    limit: str
    unit: str
    remedy: str
    waiver: AcceptedBy | None
    witness: Witness | None = None
    excused: Annotated[
        str,
        Meta(description="what multiplies here and passes only because the policy allows it"),
    ] = ""

    def __post_init__(self) -> None:
        if (self.status == "WAIVED") != (self.waiver is not None):
            raise ValueError("a finding has a waiver if it is WAIVED, and only then")

    @classmethod
    def of(cls, f: Finding) -> Found:
        """As it is written."""
        own = {n: getattr(f, n) for n in _SAME}
        return cls(
            rule=f.rule.id,
            title=f.rule.title,
            why=f.rule.why,
            severity=f.rule.severity,
            help=f.rule.help,
            waiver=AcceptedBy(**vars(f.waiver)) if f.waiver else None,
            witness=msgspec.convert(f.witness, Witness) if f.witness else None,
            **own,
        )

    def finding(self) -> Finding:
        """As it was found."""
        return Finding(
            rule=Rule(self.rule, self.title, self.why, self.severity),
            waiver=Accepted(**_data(self.waiver)) if self.waiver else None,
            witness=_data(self.witness) if self.witness else None,
            **{n: getattr(self, n) for n in _SAME},
        )


_SAME = ("where", "status", "measured", "limit", "unit", "remedy", "excused")


def found_data(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """Findings as JSON-ready data, as report.json has them."""
    rows = [Found.of(f) for f in findings]
    data: list[dict[str, Any]] = msgspec.to_builtins(rows, enc_hook=str)  # texts that know words
    return data


def _data(row: Row) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.to_builtins(row)
    return data


Waived = Annotated[
    Found,
    Meta(
        extra_json_schema={
            "if": {"properties": {"status": {"const": "WAIVED"}}},
            "then": {"properties": {"waiver": {"type": "object"}}},
            "else": {"properties": {"waiver": {"type": "null"}}},
        }
    ),
]
