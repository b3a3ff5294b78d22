"""Sentences about figures of a report, the same in every form of it."""

from __future__ import annotations

from purespike.compiler.report.report import Report
from purespike.compiler.wording import figure

NOT_COUNTED = "not counted"
NO_ACCURACY = "not measured: no labelled data was given"


def amount(count: float | None) -> str:
    """A count in whole numbers, or that nothing was counted; 0 is 0 only where it was."""
    return NOT_COUNTED if count is None else figure(count)


def counted(report: Report) -> str:
    """Which network the census is of, over what; or why there is none."""
    census = report.census
    if census.chip is None:
        return f"{NOT_COUNTED}: {census.not_counted or 'nothing ran'}"
    samples, given = census.samples, report.samples
    over = "" if samples in (None, given) else f", over {samples} of {given} samples"
    return f"{census.network or 'the network'}{over}"


def joins(report: Report) -> str:
    """Sums whose results are numbers, such as SEW's ADD: how many, and what they add."""
    adds = [c for c in report.census.layers if c.operation == "Add" and c.counts.add]
    if not adds:
        return ""
    total = sum(c.counts.add for c in adds)
    joined = f"{len(adds)} ADD join{'s' if len(adds) > 1 else ''}"
    return f"{joined} outside dendrites: {total:,.0f} of the ADD"


def operations(report: Report) -> str:
    """What one sample costs on the chip, in a sentence."""
    chip = report.census.chip
    if chip is None:
        return f"Operations per sample: {counted(report)}."
    kinds = ("ac", "mac", "mul", "add", "cmp", "logic", "unknown")
    shown = ", ".join(
        f"{amount(getattr(chip, k))} {k.upper() if len(k) == 3 or k == 'ac' else k}"
        for k in kinds
        if getattr(chip, k) or k in kinds[:5]
    )
    more = f" ({joins(report)})" if joins(report) else ""
    where = "on the chip" if on_chip(report) else "as if it ran on a chip"
    return f"Operations per sample {where}, {counted(report)}: {shown}{more}."


def on_chip(report: Report) -> bool:
    """Are the operations those of the chip's network?"""
    return str(report.census.network).startswith("integer")


def multiplications(report: Report) -> float | None:
    """MAC and MUL of one sample on the chip; None if nothing was counted."""
    chip = report.census.chip
    return None if chip is None else float(chip.mac + chip.mul)


def percent(share: float) -> str:
    """A share of equal values, never rounded up to all of them."""
    text = f"{100 * share:.3f}"
    return f"{'99.999' if text == '100.000' and share < 1 else text} %"
