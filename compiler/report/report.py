"""The compliance report: typed, the same bytes for the same build, and read back to the same bytes.

No clock and no paths in it. Every field is a key of report.json, which ``schema`` describes.
"""

from __future__ import annotations

import json
import math
import os
from typing import Annotated, Any, Literal

import msgspec
from msgspec.structs import replace

from purespike.compiler.errors import UsageError
from purespike.compiler.report.evidence import Evidence, Judged
from purespike.compiler.report.older import upgraded
from purespike.compiler.report.rows.basic import Choice, Number, Row
from purespike.compiler.report.rows.c_program import CProgram
from purespike.compiler.report.rows.census import Census, Energy
from purespike.compiler.report.rows.cores import CoreMap
from purespike.compiler.report.rows.found import Found, Waived
from purespike.compiler.report.rows.network import Network, NetworkFile, Source
from purespike.compiler.report.rows.stages import Activity, ExecutorRow, Join, PassLine
from purespike.compiler.report.rows.verdict import Accuracy, Chance, Verdict, WaiverList
from purespike.compiler.rules.finding import RULES, Finding, Rule, compliant, headline

FORMAT: Literal[3] = 3


class ReportError(UsageError):
    """A file that is not a report of this version."""


class Report(Row, frozen=True, omit_defaults=True):
    """Everything a hardware team signs; `from_json` reads what `to_json` writes."""

    format: Literal[3]
    verdict: Verdict
    model: str
    target: str
    policy: Annotated[str, msgspec.Meta(description="name of the policy")]
    policy_choices: Annotated[
        dict[str, Choice],
        msgspec.Meta(description="every choice of the policy; empty in a report made without one"),
    ]
    waivers: WaiverList | None
    samples: Annotated[int, msgspec.Meta(description="test samples that were given")]
    accuracy: tuple[Accuracy, ...]
    found: tuple[Waived, ...] = msgspec.field(name="findings")
    census: Census
    energy: tuple[Energy, ...]
    ledger: tuple[PassLine, ...]
    executors: Annotated[
        tuple[ExecutorRow, ...],
        msgspec.Meta(
            description="the captured graph against torch, then each executor against the "
            "interpreter"
        ),
    ]
    timing: tuple[Join, ...]
    network: Network | None
    activity: tuple[Activity, ...]
    membrane_limit: Number | None
    sources: Annotated[dict[str, Source], msgspec.Meta(description="by module path")]
    versions: dict[str, str]
    options: Annotated[
        dict[str, Choice],
        msgspec.Meta(
            description="what the compiler was told, but for policy and waivers; absent if older"
        ),
    ] = {}  # noqa: RUF012
    file: Annotated[NetworkFile | None, msgspec.Meta(description="absent where none was read")] = (
        None
    )
    chance: Chance | None = None
    resources: Annotated[
        CoreMap | None,
        msgspec.Meta(description="the mapping onto cores, an estimate; absent where none was made"),
    ] = None
    c_program: Annotated[
        CProgram | None,
        msgspec.Meta(description="what the C program needs; absent where none was asked for"),
    ] = None
    latency: Annotated[
        int | None,
        msgspec.Meta(
            description="steps of Lava until the deepest layer has seen what the input said in one "
            "step; absent where nothing is compiled for a chip"
        ),
    ] = None

    @classmethod
    def of(
        cls,
        judged: Judged,
        findings: tuple[Finding, ...],
        evidence: Evidence,
        demanded: tuple[Rule, ...] = RULES,
    ) -> Report:
        """The verdict on a network.

        Args:
            judged: What was judged, and by what.
            findings: All of them, after policy and waivers.
            evidence: What was measured.
            demanded: Rules that have to hold for the verdict.
        """
        chance = evidence.chance
        return cls(
            format=FORMAT,
            verdict=Verdict(
                compliant=compliant(findings, demanded),
                headline=headline(findings, demanded, judged.policy.name),
                demanded=tuple(r.id for r in demanded),
                silent=evidence.silent(),
            ),
            model=judged.model,
            target=judged.target,
            policy=judged.policy.name,
            policy_choices=judged.policy.choices(),
            waivers=msgspec.convert(judged.waivers.data(), WaiverList) if judged.waivers else None,
            samples=judged.samples,
            accuracy=tuple(
                replace(a, note=chance.note(a)) if chance else a for a in evidence.accuracy
            ),
            found=tuple(Found.of(f) for f in findings),
            census=evidence.census(),
            energy=evidence.energy(),
            ledger=evidence.ledger,
            executors=evidence.executors,
            timing=evidence.timing,
            network=evidence.network,
            activity=evidence.activity,
            membrane_limit=evidence.membrane_limit,
            sources=dict(judged.sources),
            versions=dict(judged.versions),
            options=dict(judged.options),
            file=judged.file,
            chance=chance,
            resources=evidence.resources,
            c_program=evidence.c_program,
            latency=evidence.latency,
        )

    def __repr__(self) -> str:
        """One line: the verdict."""
        return f"Report({self.model!r}, {self.headline!r}, findings={len(self.found)})"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as .html, .json, .md, .txt, .sarif or .xml (JUnit), as the suffix says.

        Raises:
            UsageError: If the suffix names no format.
            OutputError: If it cannot be written.
        """
        from purespike.compiler.report.formats.save import save_report  # it knows reports

        save_report(self, path)

    def _repr_html_(self) -> str:
        """For notebooks: the verdict, and every finding that does not hold."""
        from purespike.compiler.report.formats.notebook import shown  # it knows reports

        return shown(self.model, self.compliant, self.headline, self.findings)

    @property
    def compliant(self) -> bool:
        """True if every rule that is demanded ran, and none is broken."""
        return self.verdict.compliant

    @property
    def headline(self) -> str:
        """The verdict in words."""
        return self.verdict.headline

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All of them, in order of rule."""
        return tuple(f.finding() for f in self.found)

    def data(self) -> dict[str, Any]:
        """As plain values: what JSON makes of it."""
        data: dict[str, Any] = _plain(msgspec.to_builtins(self, enc_hook=_builtin))
        return data

    def to_json(self) -> str:
        """Sorted, indented, without NaN."""
        return json.dumps(self.data(), indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """What `to_json` wrote, in this format or in format 2, which is read as this one.

        Raises:
            ReportError: If it is not a report of these formats.
        """
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise ReportError("the report cannot be read", found=str(e)) from e
        return cls.from_data(upgraded(data))

    @classmethod
    def from_data(cls, data: object) -> Report:
        """The same of JSON that was read, in this format only.

        Raises:
            ReportError: With the place of the first mistake.
        """
        try:
            if isinstance(data, dict) and data.get("format") != FORMAT:
                raise ValueError(f"is {data.get('format')!r}, must be {FORMAT} - at `$.format`")
            return msgspec.convert(data, cls)
        except (ValueError, RecursionError) as e:
            raise ReportError(
                "this is not a report of this version",
                found=_placed(str(e)),
                allowed="what `purespike report --schema` prints",
                remedy="compile again with this version",
            ) from e


def schema() -> str:
    """The JSON Schema (draft 2020-12) of report.json."""
    _, parts = msgspec.json.schema_components([Report], ref_template="#/$defs/{name}")
    whole = parts.pop("Report")
    text = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole,
        "title": "purespike compliance report",
        "description": f"report.json of a bundle, format {FORMAT}. The same build gives the same "
        "bytes: no paths, and no clock unless waivers were judged. A number that is infinite, no "
        "number, or was not measured is null.",
        "$defs": parts,
    }
    return json.dumps(text, indent=1) + "\n"


def _placed(mistake: str) -> str:
    """``$.a[0]`` in front, by the name of the file."""
    words, _, at = mistake.partition(" - at `$")
    return f"report{at.rstrip('`')}: {words}"


def _builtin(x: Any) -> Any:
    """Numbers of numpy, and texts that know the words of an interface."""
    return x.item() if hasattr(x, "item") else str(x)


def _plain(x: Any) -> Any:
    """Numbers that JSON can hold: NaN and infinity become null."""
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return [_plain(v) for v in x]
    if isinstance(x, float) and not math.isfinite(x):
        return None
    return x
