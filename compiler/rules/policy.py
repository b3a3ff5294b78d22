"""What a team accepts: the few things that are a matter of choice, not of proof.

A policy is a TOML file with every field of ``Policy`` but its name, which is the file's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

from purespike.compiler.choices import as_path, settle
from purespike.compiler.errors import PurespikeError, UsageError
from purespike.compiler.files import reading
from purespike.compiler.files.toml import parse_toml
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import AvgPool2d, Flatten, Linear, Neuron, TimeMean
from purespike.compiler.near import did_you_mean
from purespike.compiler.rules.finding import (
    ARITHMETIC,
    BOUNDARY,
    OPERATIONS,
    SPIKE_DOMAIN,
    SPIKE_RUN,
    Finding,
)
from purespike.compiler.wording import Advice

BUILT_IN = ("strict", "leaky", "paper")
_LARGEST = 1 << 20  # bytes


class PolicyError(UsageError):
    """A policy that cannot be read."""


@dataclass(frozen=True)
class Policy:
    """A named set of choices.

    Attributes:
        name: Stands in the report.
        leak_multiplies: Whether a leaky neuron may multiply its membrane by the decay (PS005).
        accuracy_drop: Percentage points that the integer network may lose against the trained
            one (PS012).
        host_encoder: Whether an encoder may run on the host, if it is declared (PS011).
        classifier_mac: Whether the last linear layer, with the averages right before it, may
            multiply (PS001, PS002, PS004, PS005 at these places only).
        description: What the policy is for.

    Raises:
        UsageError: If a value is none of those allowed.
    """

    name: str
    leak_multiplies: bool
    accuracy_drop: float
    host_encoder: bool = True
    classifier_mac: bool = False
    description: str = ""

    def __post_init__(self) -> None:
        drop = self.accuracy_drop
        if isinstance(drop, int | float) and not 0 <= drop <= 100:
            raise PolicyError(
                "accuracy_drop is out of range",
                where=self.name,
                found=f"{drop:g}",
                allowed="0 to 100 percentage points",
            )
        settle(self)

    def choices(self) -> dict[str, Any]:
        """As JSON-ready data, without the name."""
        return {k: v for k, v in asdict(self).items() if k != "name"}

    def to_toml(self) -> str:
        """The file that says this policy."""
        lines = [f"# {self.name}"]
        for key, value in self.choices().items():
            text = str(value).lower() if isinstance(value, bool) else repr(value)
            lines.append(f"{key} = {_quoted(value) if isinstance(value, str) else text}")
        return "\n".join(lines) + "\n"


def read_policy(name: str | os.PathLike[str]) -> Policy:
    """A policy by the name of a built-in one, or from a TOML file.

    Raises:
        PolicyError: If there is none of that name, or the file says something that has no meaning.
    """
    name = str(as_path(name, "policy"))
    if name in BUILT_IN:
        return _parse(name, _built_in(name), f"{name}.toml")
    path = Path(name)
    if path.suffix != ".toml":
        raise PolicyError(
            "unknown policy",
            found=name,
            allowed=", ".join(BUILT_IN) + ", or the path of a .toml file",
            remedy=did_you_mean(name, BUILT_IN, "start from `purespike policy show strict`"),
        )
    return _parse(path.stem, read_text(path, PolicyError, "the policy"), str(path))


def read_text(path: Path, error: type[PurespikeError], what: str) -> str:
    """A small text file that a user wrote; raises ``error`` if it cannot be read."""
    try:
        return reading.read_text(path, _LARGEST, error, what)
    except (OSError, UnicodeDecodeError) as e:
        words = getattr(e, "strerror", None) or str(e)  # without the path a second time
        raise error(f"{what} cannot be read", where=str(path), found=words) from e


def _built_in(name: str) -> str:
    folder = resources.files("purespike.compiler.rules")
    return (folder / f"{name}.toml").read_text(encoding="utf-8")


def _parse(name: str, text: str, where: str) -> Policy:
    try:
        data = parse_toml(text)
    except ValueError as e:
        raise PolicyError("the policy is not TOML", where=where, found=str(e)) from e
    types = {f.name: str(f.type) for f in fields(Policy) if f.name != "name"}
    unknown, missing = sorted(set(data) - set(types)), sorted(set(types) - set(data))
    if unknown or missing:
        raise PolicyError(
            "the policy has unknown or missing keys",
            where=where,
            found="; ".join(
                f"{label} {', '.join(keys)}"
                for label, keys in (("unknown", unknown), ("missing", missing))
                if keys
            ),
            allowed="exactly " + ", ".join(types),
            remedy="start from `purespike policy show strict`: every choice has to be stated",
        )
    for key, value in data.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        fits = {"bool": isinstance(value, bool), "str": isinstance(value, str), "float": number}
        if not fits[types[key]]:
            raise PolicyError(
                f"{key} has the wrong type",
                where=where,
                found=f"{value!r} ({type(value).__name__})",
                allowed={"bool": "true or false", "str": "a text", "float": "a number"}[types[key]],
            )
    try:
        return Policy(name, **data)
    except UsageError as e:
        e.where = where
        raise


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def apply_policy(findings: Iterable[Finding], graph: Graph, policy: Policy) -> list[Finding]:
    """The findings as the policy sees them: what it excepts by name passes, and says so."""
    excused = set(_classifier(graph)) if policy.classifier_mac else set()
    rules = {SPIKE_DOMAIN, SPIKE_RUN, OPERATIONS, ARITHMETIC}
    host = any(n.role == "host" for n in graph.nodes)
    result = []
    for f in findings:
        if f.status == "FAIL" and f.rule in rules and f.where.split(" (module ")[0] in excused:
            f = replace(
                f,
                status="PASS",
                measured=f"{f.measured}; the classifier may be MAC under policy {policy.name}",
                remedy="",
                excused="the classifier",
            )
        if f.rule == BOUNDARY and f.status == "PASS" and host and not policy.host_encoder:
            f = replace(
                f,
                status="FAIL",
                limit=f"spikes: policy {policy.name} allows no host encoder",
                remedy=Advice(
                    "encode the input as spikes, or choose a policy with host_encoder = true: "
                    "{policy}"
                ),
            )
        result.append(f)
    return result


def _classifier(graph: Graph) -> Iterator[str]:
    """The last linear layer of each output, with the averages that stand right before it.

    What stands behind it (an average over time, an integrator) never fires and belongs to it.
    """
    for name in graph.outputs:
        node = graph.producer(name)
        while node is not None and not isinstance(node.op, Linear):
            behind = isinstance(node.op, TimeMean | Flatten) or (
                isinstance(node.op, Neuron) and not node.op.fires
            )
            if not behind:
                break
            yield node.name
            node = graph.producer(node.inputs[0])
        if node is None or not isinstance(node.op, Linear):
            continue
        yield node.name
        node = graph.producer(node.inputs[0])
        while node is not None and isinstance(node.op, AvgPool2d | Flatten | TimeMean):
            yield node.name
            node = graph.producer(node.inputs[0])


STRICT, LEAKY, PAPER = (read_policy(name) for name in BUILT_IN)
POLICIES = {p.name: p for p in (STRICT, LEAKY, PAPER)}
