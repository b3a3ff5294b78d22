"""In what two builds differ beside their networks: said before any figure of theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from purespike.compiler.report.report import Report

__all__ = ["conditions"]

_DIGITS = 12  # of a hash, which tell files apart
_HOW_MANY = ("golden", "lava_samples")  # samples that are compared: no figure rests on them


def conditions(old: Report, new: Report) -> Iterator[str]:
    """Sentences about files, time steps, inputs, data, policy and options that are not the same."""
    if old.file and new.file:
        files = [f"{f.name} (SHA-256 {f.sha256[:_DIGITS]})" for f in (old.file, new.file)]
        if old.file.sha256 != new.file.sha256:
            yield f"network's file: {files[0]}, then {files[1]}"
        answers = [{**f.stated, **f.assumed} for f in (old.file, new.file)]
        if changed := _changed(*answers, leave=()):
            yield f"what was answered for it: {changed}"
    networks = old.network, new.network
    if networks[0] and networks[1]:
        if networks[0].steps != networks[1].steps:
            yield f"time steps: T = {networks[0].steps}, then {networks[1].steps}"
        shapes = [", ".join("x".join(map(str, e.shape)) for e in n.inputs) for n in networks if n]
        if shapes[0] != shapes[1]:
            yield f"inputs: {shapes[0]}, then {shapes[1]}"
    data = [_data(r) for r in (old, new)]
    if data[0] != data[1]:
        yield f"data: {data[0]}, then {data[1]}"
    if (old.policy, old.policy_choices) != (new.policy, new.policy_choices):
        changed = _changed(old.policy_choices, new.policy_choices, leave=("description",))
        choices = f" ({changed})" if changed else ""
        yield f"policy: {old.policy}, then {new.policy}{choices}"
    changed = _changed(old.options, new.options, leave=_HOW_MANY)
    if changed and old.options and new.options:
        yield f"options: {changed}"
    if old.target != new.target:
        yield f"target: {old.target}, then {new.target}"


def _data(report: Report) -> str:
    """How many samples, and what is known of their labels."""
    chance = report.chance
    words = f"{report.samples} samples"
    if chance is None:
        return f"{words} without labels"
    most = round(chance.commonest * report.samples)
    return f"{words} of {chance.classes} classes, {most} of the commonest"


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], *, leave: tuple[str, ...]) -> str:
    names = [n for n in dict.fromkeys((*old, *new)) if n not in leave]
    return ", ".join(
        f"{n} {_word(old.get(n))}, then {_word(new.get(n))}"
        for n in names
        if old.get(n) != new.get(n)
    )


def _word(value: object) -> str:
    if value is None:
        return "not stated"
    return str(value).lower() if isinstance(value, bool) else str(value)
