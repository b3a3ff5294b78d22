"""Waivers: a team accepts a broken finding, by name, with a reason and an end.

[[waiver]]
rule = "PS005"
where = "blocks.*.neuron2"      # exact, or a glob
who = "A. Person, hardware"
why = "the board multiplies leaks in hardware"
until = 2027-03-31              # the last day on which it holds
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from purespike.compiler.errors import UsageError
from purespike.compiler.files.toml import parse_toml
from purespike.compiler.rules.finding import RULES, WAIVERS, Accepted, Finding, verdict
from purespike.compiler.rules.policy import read_text

State = Literal["used", "expired", "matches nothing"]


class WaiverError(UsageError):
    """A waiver file that cannot be read."""


@dataclass(frozen=True)
class Waiver:
    """One accepted finding, or several by a glob."""

    rule: str
    where: str
    who: str
    why: str
    until: date

    def covers(self, finding: Finding) -> bool:
        """Does it name this place, exactly or by its glob?"""
        same = finding.where == self.where or fnmatchcase(finding.where, self.where)
        return finding.rule.id == self.rule and same

    def data(self) -> dict[str, str]:
        """As JSON-ready data."""
        return {f.name: str(getattr(self, f.name)) for f in fields(self)}


@dataclass(frozen=True)
class Waivers:
    """A team's waivers and the day on which they are judged."""

    entries: tuple[Waiver, ...]
    today: date

    def data(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {"today": str(self.today), "entries": [w.data() for w in self.entries]}


def read_waivers(path: Path, today: date) -> Waivers:
    """The waivers of a TOML file.

    Raises:
        WaiverError: If it cannot be read, or an entry lacks something or says too much.
    """
    try:
        data = parse_toml(read_text(path, WaiverError, "the waiver file"))
    except ValueError as e:
        raise WaiverError("the waiver file is not TOML", where=str(path), found=str(e)) from e
    entries = data.get("waiver")
    if set(data) != {"waiver"} or not isinstance(entries, list):
        raise WaiverError(
            "the waiver file has something else than waivers",
            where=str(path),
            found=", ".join(data) or "nothing",
            allowed="tables [[waiver]] only",
        )
    return Waivers(
        tuple(_entry(e, f"{path}, waiver {k + 1}") for k, e in enumerate(entries)), today
    )


def _entry(entry: Any, where: str) -> Waiver:
    names = [f.name for f in fields(Waiver)]
    if not isinstance(entry, dict) or set(entry) != set(names):
        raise WaiverError(
            "a waiver has unknown or missing keys",
            where=where,
            found=", ".join(entry) if isinstance(entry, dict) else repr(entry),
            allowed="exactly " + ", ".join(names),
        )
    for key in names[:-1]:
        if not isinstance(entry[key], str) or not entry[key].strip():
            raise WaiverError(
                f"a waiver's {key} says nothing",
                where=where,
                found=repr(entry[key]),
                allowed="a text that is not empty",
            )
    until = entry["until"]
    if not isinstance(until, date) or isinstance(until, datetime):
        raise WaiverError(
            "a waiver's end is not a date",
            where=where,
            found=repr(until),
            allowed="a TOML date without quotes, such as 2027-03-31",
        )
    known = [r.id for r in RULES]
    if entry["rule"] not in known:
        raise WaiverError(
            "a waiver names an unknown rule",
            where=where,
            found=entry["rule"],
            allowed=", ".join(known),
        )
    return Waiver(**entry)


def apply_waivers(findings: Iterable[Finding], waivers: Waivers | None) -> tuple[Finding, ...]:
    """The findings with what is waived marked, and PS000 for each waiver that is judged.

    Only what is broken can be waived: nobody can accept what was not measured. A waiver of that is
    NOT RUN itself.
    """
    found = tuple(findings)
    if waivers is None:
        return found
    used: set[int] = set()

    def waived(f: Finding) -> Finding:
        if f.status != "FAIL":
            return f
        for k, w in enumerate(waivers.entries):
            if w.covers(f) and waivers.today <= w.until:
                used.add(k)
                return replace(f, status="WAIVED", waiver=Accepted(w.who, w.why, str(w.until)))
        return f

    marked = tuple(waived(f) for f in found)
    ran = {f.rule.id for f in found if f.status != "NOT RUN"}
    judged = []
    for k, w in enumerate(waivers.entries):
        expired = waivers.today > w.until
        unrun = [f for f in marked if f.status == "NOT RUN" and w.covers(f)]
        if k not in used and not expired and unrun:
            place = unrun[0].where or "at all"
            judged.append(
                Finding(
                    WAIVERS,
                    f"waiver of {w.rule} at {w.where}",
                    "NOT RUN",
                    f"it covers only what was not run ({w.rule} {place}), which nobody can accept",
                    limit="covers a broken finding",
                    remedy="have the rule run: its own row says what is missing",
                )
            )
            continue
        if k not in used and not expired and w.rule not in ran:
            continue  # its rule is not among those that are judged
        state: State = "used" if k in used else "expired" if expired else "matches nothing"
        judged.append(
            verdict(
                WAIVERS,
                f"waiver of {w.rule} at {w.where}",
                k in used,
                f"{state}: until {w.until}, judged on {waivers.today}; {w.who}: {w.why}",
                limit="in force, and covers a broken finding",
                remedy="remove the waiver, or correct its place or date",
            )
        )
    return (*judged, *marked)
