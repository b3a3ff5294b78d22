"""The report as Markdown for a pull request, and as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from purespike.compiler.report.formats.read import (
    NO_ACCURACY,
    Data,
    by_rule,
    limit,
    operations,
    title,
    worst,
)

_SHOWN = 20  # findings; report.json has all of them
_MARKS = {"PASS": "✅", "FAIL": "❌", "WAIVED": "⚠️", "NOT RUN": "❔"}


def to_markdown(data: Data) -> str:
    """A summary: verdict, waivers, rules, what is broken, accuracy and counts."""
    mark = "✅" if data["verdict"]["compliant"] else "❌"
    reserved = any(f["status"] == "WAIVED" or f.get("excused") for f in data["findings"])
    if reserved and data["verdict"]["compliant"]:
        mark = "⚠️"
    parts = [
        f"## {mark} {_cell(data['verdict']['headline'])}",
        f"{_cell(data['model'])} for {_cell(data['target'])}, policy `{data['policy']}`, "
        f"{data['samples']} test samples",
    ]
    waived = [f for f in data["findings"] if f["status"] == "WAIVED"]
    if waived:
        rows = [
            (f["rule"], f["where"], f["measured"], *(f["waiver"][k] for k in _WAIVED))
            for f in waived
        ]
        parts += ["### Waived", _table(("rule", "where", "found", *_WAIVED), rows[:_SHOWN])]
        parts += _more(rows)
    rows = []
    for rule, findings in by_rule(data).items():
        status = worst(findings)
        linked = f"[{rule}](docs/rules/{rule}.md)"
        rows.append(
            (linked, title(rule, findings), str(len(findings)), f"{_MARKS[status]} {status}")
        )
    parts += ["### Rules", _table(("rule", "what it demands", "places", "result"), rows)]
    open_ = [f for f in data["findings"] if f["status"] in ("FAIL", "NOT RUN")]
    if open_:
        rows = [
            (f["rule"], f["status"], f["where"], f["measured"], limit(f), f["remedy"])
            for f in sorted(open_, key=lambda f: f["status"])
        ]
        head = ("rule", "", "where", "found", "allowed", "to do")
        parts += ["### Open", _table(head, rows[:_SHOWN]), *_more(rows)]
    parts += ["### Accuracy", _accuracy(data)]
    parts += [f"{_cell(a['stage'])}: {_cell(a['note'])}" for a in data["accuracy"] if "note" in a]
    parts.append(operations(data))
    return "\n\n".join(parts) + "\n"


_WAIVED = ("who", "why", "until")


def to_text(data: Data) -> str:
    """The same for a log: no markup."""
    lines = [
        data["verdict"]["headline"],
        f"{data['model']}, target {data['target']}, policy {data['policy']}, "
        f"{data['samples']} samples",
        "",
    ]
    for rule, findings in by_rule(data).items():
        lines.append(
            f"{worst(findings):8} {rule}  {title(rule, findings)} ({len(findings)} places)"
        )
    for f in data["findings"]:
        if f["status"] == "PASS":
            continue
        lines += ["", f"{f['status']} {f['rule']} at {f['where'] or 'whole network'}"]
        entries = {"found": f["measured"], "allowed": limit(f), "to do": f["remedy"]}
        lines += [f"  {label}: {text}" for label, text in entries.items() if text]
        if f["waiver"]:
            w = f["waiver"]
            lines.append(f"  waived: by {w['who']} until {w['until']}: {w['why']}")
        lines.append(f"  see: {f['help']}")
    lines.append("")
    for a in data["accuracy"]:
        low, high = a["interval_95"]
        lines.append(
            f"{a['stage']}: {a['correct']}/{a['n']} = {100 * a['rate']:.2f} % "
            f"(95 % interval {100 * low:.2f} to {100 * high:.2f} %)"
        )
        lines += [f"  {a['note']}"] if "note" in a else []
    lines += [] if data["accuracy"] else [f"accuracy: {NO_ACCURACY}"]
    lines.append(operations(data))
    return "\n".join(lines) + "\n"


def _accuracy(data: Data) -> str:
    if not data["accuracy"]:
        return f"{NO_ACCURACY.capitalize()}."
    rows = [
        (
            a["stage"],
            f"{a['correct']}/{a['n']}",
            f"{100 * a['rate']:.2f} %",
            f"{100 * a['interval_95'][0]:.2f} to {100 * a['interval_95'][1]:.2f} %",
        )
        for a in data["accuracy"]
    ]
    return _table(("stage", "correct", "accuracy", "95 % interval"), rows)


def _more(rows: Sequence[object]) -> list[str]:
    return [f"and {len(rows) - _SHOWN} more: see report.json"] if len(rows) > _SHOWN else []


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(c) for c in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text that can neither end its cell nor become markup (links of our own excepted)."""
    if text.startswith("[PS") and text.endswith(".md)"):
        return text
    plain = " ".join(text.split())
    for c in "\\`*_[]<>|#":
        plain = plain.replace(c, f"\\{c}" if c not in "<>" else {"<": "&lt;", ">": "&gt;"}[c])
    return plain
