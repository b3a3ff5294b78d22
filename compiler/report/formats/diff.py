"""What changed between two builds, and which gates that trips."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from purespike.compiler.errors import UsageError
from purespike.compiler.near import nearest
from purespike.compiler.report.formats.conditions import conditions
from purespike.compiler.report.report import Report
from purespike.compiler.report.rows.found import found_data
from purespike.compiler.report.tables.table import Column, Result, Table, headings, numbers
from purespike.compiler.rules.finding import Finding, Status
from purespike.compiler.wording import figure

_OPEN: tuple[Status, ...] = ("FAIL", "NOT RUN")


class GateError(UsageError):
    """A gate that has no meaning."""


@dataclass(frozen=True)
class Row:
    """One figure of both builds; None where a build does not have it."""

    name: str
    old: float | None
    new: float | None
    unit: str = ""

    @property
    def change(self) -> float | None:
        """New minus old."""
        return None if self.old is None or self.new is None else self.new - self.old

    @property
    def percent(self) -> float | None:
        """Change in percent of the old figure; growth from zero is infinite."""
        if self.old is None or self.new is None:
            return None
        if self.old == self.new:
            return 0.0
        return 100 * (self.new - self.old) / self.old if self.old else float("inf")


@dataclass(frozen=True)
class Difference:
    """Two builds side by side.

    Attributes:
        rows: Figures.
        appeared: Findings that are broken, or not run, in the new build only.
        gone: Findings that were in the old build only.
        waived: Findings that are waived in the new build and were not before.
        notes: Why counts of the two may not be comparable.
        conditions: What differs beside the networks: data, time steps, policy, options.
    """

    rows: tuple[Row, ...]
    appeared: tuple[Finding, ...]
    gone: tuple[Finding, ...]
    waived: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        """As JSON-ready data; findings as report.json has them."""
        found = {name: getattr(self, name) for name in ("appeared", "gone", "waived")}
        return {
            "figures": [
                {"name": r.name, "old": r.old, "new": r.new, "unit": r.unit} for r in self.rows
            ],
            **{k: found_data(v) for k, v in found.items()},
            "notes": list(self.notes),
            "conditions": list(self.conditions),
        }

    def row(self, name: str) -> Row | None:
        """The figure of that name."""
        return next((r for r in self.rows if r.name == name), None)


@dataclass(frozen=True)
class Gate:
    """A limit on one change: ``accuracy=0.5``, ``ac=5``, ``findings``, ``cores=0``."""

    name: str
    limit: float = 0.0

    def __str__(self) -> str:
        return self.name if self.name == "findings" else f"{self.name}={self.limit:g}"


ACCURACY = "accuracy of the integer network"
AC = "AC a sample on the chip"
CORES = "cores"
_GATES = ("accuracy", "ac", "cores", "findings")


def compare_reports(old: Report, new: Report) -> Difference:
    """The difference of two reports."""
    rows = [
        Row(ACCURACY, _accuracy(old), _accuracy(new), "%"),
        *(
            Row(AC if k == "ac" else f"{k.upper()} a sample on the chip", *_counts(old, new, k))
            for k in ("ac", "mac", "mul", "add", "cmp")
        ),
    ]
    rows.append(Row(CORES, _cores(old), _cores(new)))
    was, now = ({e.table: e.per_sample for e in d.energy} for d in (old, new))
    for table in dict.fromkeys([*was, *now]):
        rows.append(Row(f"energy, {table} (projection)", was.get(table), now.get(table), "nJ"))
    was_open, is_open = _open(old, _OPEN), _open(new, _OPEN)
    waived = _open(new, ("WAIVED",))
    was_waived = _open(old, ("WAIVED",))
    return Difference(
        tuple(rows),
        tuple(f for key, f in is_open.items() if key not in was_open),
        tuple(f for key, f in was_open.items() if key not in is_open and key not in waived),
        tuple(f for key, f in waived.items() if key not in was_waived),
        tuple(_notes(old, new)),
        tuple(conditions(old, new)),
    )


def _notes(old: Report, new: Report) -> Iterator[str]:
    networks = [d.census.network for d in (old, new)]
    if None not in networks and networks[0] != networks[1]:
        yield f"operations are those of different networks: {networks[0]}; {networks[1]}"
    first = [{c.name: c.arrays for c in d.census.layers} for d in (old, new)]
    for mine, other in ((first[0], first[1]), (first[1], first[0])):
        if mine and not any(mine.values()) and any((n or 1) > 1 for n in other.values()):
            yield (
                "one of the reports was written in format 2, which counted a synapse once however "
                "many layers of neurons read its current"
            )


def read_gates(texts: Iterable[str]) -> tuple[Gate, ...]:
    """Gates as they stand on a command line.

    Raises:
        GateError: If one has no meaning.
    """
    return tuple(_gate(t) for t in texts)


def _gate(text: str) -> Gate:
    name, equals, value = text.strip().partition("=")
    try:
        if name == "findings" and not equals:
            return Gate(name)
        if name in _GATES[:-1] and 0 <= float(value) < float("inf"):
            return Gate(name, float(value))
    except ValueError:
        pass
    raise GateError(
        "this gate has no meaning",
        found=text,
        allowed="accuracy=POINTS (largest drop), ac=PERCENT (largest growth), findings (no new "
        "one), cores=N (most cores more)",
        remedy=_meant(name, value),
    )


def _meant(name: str, value: str) -> str:
    if name in _GATES:
        return ""
    begun = [gate for gate in _GATES if name and gate.startswith(name)]
    near = dict.fromkeys([*begun, *filter(None, [nearest(name, _GATES)])])
    written = [g if g == "findings" else f"{g}={value or 'N'}" for g in near]
    return f"did you mean {' or '.join(written)}?" if written else ""


def tripped(difference: Difference, gates: Iterable[Gate]) -> tuple[str, ...]:
    """Why the new build is refused; what a gate needs and a build lacks refuses it too."""
    measures: dict[str, Callable[[], float | None]] = {
        "accuracy": lambda: _negative(_value(difference, ACCURACY, "change")),
        "ac": lambda: _value(difference, AC, "percent"),
        "cores": lambda: _value(difference, CORES, "change"),
        "findings": lambda: float(len(difference.appeared)),
    }
    words = {
        "accuracy": "accuracy fell by {:.2f} points",
        "ac": "AC grew by {:.2f} %",
        "cores": "{:g} cores more",
        "findings": "{:g} new findings",
    }
    reasons = []
    for gate in gates:
        value = measures[gate.name]()
        if value is None:
            reasons.append(f"{gate}: not measured in both builds")
        elif value == float("inf"):
            reasons.append(f"{gate}: AC grew from none")
        elif value > gate.limit + 1e-9:
            reasons.append(f"{gate}: {words[gate.name].format(value)}")
    return tuple(reasons)


def _value(difference: Difference, name: str, what: str) -> float | None:
    row = difference.row(name)
    value: float | None = getattr(row, what) if row else None
    return value


def _negative(x: float | None) -> float | None:
    return None if x is None else -x


def _counts(old: Report, new: Report, kind: str) -> tuple[float | None, float | None]:
    """A count of both; None where a build counted nothing."""
    was, now = (getattr(d.census.chip, kind, None) for d in (old, new))
    return was, now


def _accuracy(report: Report) -> float | None:
    rates = [a.rate for a in report.accuracy if a.stage.startswith("integer")]
    return 100 * rates[0] if rates else None


def _open(report: Report, statuses: tuple[Status, ...]) -> dict[tuple[str, str], Finding]:
    return {(f.rule.id, f.where): f for f in report.findings if f.status in statuses}


def _cores(report: Report) -> float | None:
    return float(report.resources.cores) if report.resources else None


def difference_tables(difference: Difference) -> Iterator[Table]:
    """Figures side by side, then the findings that came, were waived, and went."""
    rows = tuple(
        (row.name, _number(row.old, row), _number(row.new, row), _change(row))
        for row in difference.rows
    )
    columns = (Column("figure"), *numbers("old", "new", "change"))
    notes = tuple(f"Note: {note}" for note in difference.notes)
    yield Table("Two builds", columns, rows, notes)
    for what, findings in (
        ("New", difference.appeared),
        ("Newly waived", difference.waived),
        ("Gone", difference.gone),
    ):
        found = tuple((f.rule.id, Result(f.status), f.where, f.measured) for f in findings)
        yield Table(f"{what} findings", headings("rule", "status", "where", "found"), found)


def _number(x: float | None, row: Row) -> str:
    if x is None:
        return "not measured"
    return f"{figure(x, 2)} {row.unit}" if row.unit else figure(x)


def _change(row: Row) -> str:
    if row.change is None:
        return ""
    if row.unit == "%":
        return f"{row.change:+.2f} points"
    change = figure(row.change, 2 if row.unit else 0, "+")
    return f"{change} ({row.percent or 0.0:+.2f} %)" if row.old else change
