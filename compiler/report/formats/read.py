"""Read a report.json and find one's way in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from purespike.compiler.errors import UsageError
from purespike.compiler.report.formats.schema import mistakes
from purespike.compiler.rules.finding import RULES
from purespike.compiler.wording import figure

Data = Mapping[str, Any]  # a report.json that was checked against its schema
STATUSES = ("FAIL", "NOT RUN", "WAIVED", "PASS")  # worst first
_LARGEST = 1 << 28  # bytes


class ReportError(UsageError):
    """A file that is no report of this version."""


NOT_COUNTED = "not counted"
NO_ACCURACY = "not measured: no labelled data was given"


def read_report(path: Path) -> dict[str, Any]:
    """A report.json, checked against its schema; one of format 2 is read as one of format 3.

    Raises:
        ReportError: If it cannot be read, or is no report of this version.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ReportError("the report is too large", where=str(path), allowed="256 MiB")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as e:
        raise ReportError("the report cannot be read", where=str(path), found=str(e)) from e
    data = upgrade(data)
    wrong = list(islice(mistakes(data), 3))
    if wrong:
        raise ReportError(
            "this is no report of this version",
            where=str(path),
            found="; ".join(wrong),
            allowed="what `purespike report --schema` prints",
            remedy="compile again with this version",
        )
    assert isinstance(data, dict)
    return data


def upgrade(data: Any) -> Any:
    """A report of format 2 as one of format 3; anything else as it is.

    Format 2 wrote 0 where nothing was counted, and counted a synapse once however many layers of
    neurons read its current: that is not known any more, so ``arrays`` is null.
    """
    if not isinstance(data, dict) or data.get("format") != 2:
        return data
    try:
        counted = bool(data["census"]["layers"])
        stage = (data["network"] or {"stage": "captured"})["stage"]
        name = "integer network" if stage == "quantize" else "float network"
        census = {
            **data["census"],
            "network": name if counted else None,
            "samples": data["samples"] if counted else None,
            "not_counted": None if counted else "judging stopped before",
            "chip": data["census"]["chip"] if counted else None,
            "layers": [{**row, "arrays": None} for row in data["census"]["layers"]],
        }
        unknown = {} if counted else {"nanojoule_per_sample": None, "nanojoule_range": [None, None]}
        energy = [{**row, **unknown} for row in data["energy"]]
    except (KeyError, TypeError):
        return data  # the schema says what is wrong with it
    return {**data, "format": 3, "census": census, "energy": energy}


def worst(findings: Iterable[Data]) -> str:
    """The worst status; NOT RUN where there is no finding."""
    found = {f["status"] for f in findings}
    return next((s for s in STATUSES if s in found), "NOT RUN")


def is_open(finding: Data, data: Data) -> bool:
    """Does it stand against the verdict? What was not run does, where the policy demands it."""
    demanded = finding["rule"] in data["verdict"]["demanded"]
    return finding["status"] == "FAIL" or (finding["status"] == "NOT RUN" and demanded)


def by_rule(data: Data) -> dict[str, list[Data]]:
    """The findings of every rule, by id; a rule without any has an empty list."""
    groups: dict[str, list[Data]] = {r.id: [] for r in RULES}
    for f in data["findings"]:
        groups.setdefault(f["rule"], []).append(f)
    return dict(sorted(groups.items()))


def title(rule: str, findings: Iterable[Data]) -> str:
    """What a rule demands."""
    known = {r.id: r.title for r in RULES}
    return known.get(rule) or next((str(f["title"]) for f in findings), rule)


def node_of(finding: Data, names: Iterable[str]) -> str | None:
    """The node of the network that a finding is about, if it is about one."""
    where = str(finding["where"]).split(" (module ")[0]
    tries = (
        where,
        where.removeprefix("%"),
        where.rpartition(": ")[2],
        where.rpartition(" -> ")[2],
    )
    known = set(names)
    return next((t for t in tries if t in known), None)


def layers_in_order(data: Data) -> list[str]:
    """Every layer that some stage or executor was compared at, from the input to the output."""
    stages = [*data["ledger"], *data["executors"]]
    named = dict.fromkeys(name for stage in stages for name in stage["layers"])
    drawn = [n["name"] for n in (data["network"] or {"nodes": []})["nodes"]]
    place = {name: k for k, name in enumerate(drawn)}
    return sorted(named, key=lambda name: place.get(name, len(place)))


def source_of(finding: Data, data: Data) -> Data | None:
    """Class, file and line of the layer that a finding is about, where known."""
    nodes = (data["network"] or {"nodes": []})["nodes"]
    name = node_of(finding, [n["name"] for n in nodes])
    origin = next((n["origin"] for n in nodes if n["name"] == name), finding["where"])
    source: Data | None = data["sources"].get(origin)
    return source


def limit(finding: Data) -> str:
    """What is allowed, with its unit."""
    return f"{finding['limit']} {finding['unit']}".strip()


def amount(count: float | None) -> str:
    """A count in whole numbers, or that nothing was counted; 0 is 0 only where it was."""
    return NOT_COUNTED if count is None else figure(count)


def counted(data: Data) -> str:
    """Which network the census is of, over what; or why there is none."""
    census = data["census"]
    if census["chip"] is None:
        return f"{NOT_COUNTED}: {census['not_counted'] or 'nothing ran'}"
    samples, given = census["samples"], data["samples"]
    over = "" if samples in (None, given) else f", over {samples} of {given} samples"
    return f"{census['network'] or 'the network'}{over}"


def joins(data: Data) -> str:
    """Sums whose results are numbers, such as SEW's ADD: how many, and what they add."""
    adds = [c for c in data["census"]["layers"] if c["operation"] == "Add" and c["counts"]["add"]]
    if not adds:
        return ""
    total = sum(c["counts"]["add"] for c in adds)
    joined = f"{len(adds)} ADD join{'s' if len(adds) > 1 else ''}"
    return f"{joined} outside dendrites: {total:,.0f} of the ADD"


def operations(data: Data) -> str:
    """What one sample costs on the chip, in a sentence."""
    chip = data["census"]["chip"]
    if chip is None:
        return f"Operations per sample: {counted(data)}."
    kinds = ("ac", "mac", "mul", "add", "cmp", "logic", "unknown")
    shown = ", ".join(
        f"{amount(chip[k])} {k.upper() if len(k) == 3 or k == 'ac' else k}"
        for k in kinds
        if chip[k] or k in kinds[:5]
    )
    more = f" ({joins(data)})" if joins(data) else ""
    chip_runs_it = str(data["census"]["network"]).startswith("integer")
    where = "on the chip" if chip_runs_it else "as if it ran on a chip"
    return f"Operations per sample {where}, {counted(data)}: {shown}{more}."


def percent(share: float) -> str:
    """A share of equal values, never rounded up to all of them."""
    text = f"{100 * share:.3f}"
    return f"{'99.999' if text == '100.000' and share < 1 else text} %"


def resource_map(data: Data) -> Data | None:
    """The mapping onto cores, where the report has one."""
    found: Data | None = data.get("resources")
    return found
