"""Seeded edits of bundles put to `purespike verify`, and which check caught each."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from adversarial import edits_models, edits_texts
from adversarial.edits import EDITS, Edit, Inapplicable, apply
from helpers.flow_cases import Plain, resnet, subject
from torch import nn

from purespike.compiler.errors import PurespikeError
from purespike.compiler.rules.policy import STRICT
from purespike.flow.build import Options, build
from purespike.judge.bundle.contents import examine
from purespike.targets.bundle.bundle import read_bundle
from purespike.trainer.nn.neuron import IF

KINDS = EDITS if edits_models and edits_texts else []  # importing them fills the list


@dataclass(frozen=True)
class Sighting:
    """One edit and what noticed it.

    Attributes:
        edit: What was changed.
        seed: Of its random choices.
        bundle: Which bundle.
        refused: What `read_bundle` or the shape of the recordings said, if they refused it.
        ran: Executors that computed otherwise or would not run the file.
        compared: Files that are not what follows.
    """

    edit: Edit
    seed: int
    bundle: str
    refused: str = ""
    ran: tuple[str, ...] = ()
    compared: tuple[str, ...] = ()

    @property
    def caught(self) -> bool:
        """Did anything notice?"""
        return bool(self.refused or self.ran or self.compared)


def three_bundles(folder: Path) -> list[Path]:
    """Small bundles: sequential in every form, with a soft reset, and residual.

    The report of the first is about more samples than it holds; those of the others are not.
    """
    soft = Plain(nn.Identity())
    soft.neuron1 = IF(reset="subtract", threshold=0.5, amount=1.0)
    part = Options(golden=8, lava="none", policy=replace(STRICT, name="any", accuracy_drop=100.0))
    whole = replace(part, golden=12)
    for name, model, options in (
        ("sequential", Plain(nn.Identity()), replace(part, netx=True, onnx="qonnx")),
        ("soft", soft, whole),
        ("residual", resnet("iand"), whole),
    ):
        build(subject(model), options).save(folder / name)
    return [folder / name for name in ("sequential", "soft", "residual")]


def campaign(bundles: Sequence[Path], count: int, seed: int) -> Iterator[Sighting]:
    """``count`` edits: every kind in turn, on one bundle after the other where it applies."""
    done, turn = 0, 0
    while done < count:
        kind = KINDS[turn % len(KINDS)]
        lap, turn = turn // len(KINDS), turn + 1
        for k in range(len(bundles)):
            bundle = bundles[(turn + lap + k) % len(bundles)]
            found = sight(kind, seed + turn, bundle)
            if found is not None:
                done += 1
                yield found
                break


def sight(kind: Edit, seed: int, bundle: Path, *, lava: bool = False) -> Sighting | None:
    """Edit a copy of a bundle and examine it; None where the bundle has nothing of the kind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / bundle.name
        shutil.copytree(bundle, folder)
        try:
            apply(kind, seed, folder)
        except Inapplicable:
            return None
        found = Sighting(kind, seed, bundle.name)
        try:
            examined = examine(read_bundle(folder), lava=lava)
        except PurespikeError as e:
            return Sighting(kind, seed, bundle.name, refused=f"{e.where}: {e.message}")
        ran = [r.executor for r in examined.runs if any(f.status != "PASS" for f in r.findings)]
        wrong = [f.where.partition(": ")[0] for f in examined.compared if f.status != "PASS"]
        return Sighting(kind, seed, found.bundle, "", tuple(ran), tuple(dict.fromkeys(wrong)))


def table(sightings: Sequence[Sighting]) -> str:
    """As Markdown: how many edits of a kind were made, and what caught them."""
    rows = [
        "| file | edit | made | refused on reading | ran otherwise | differs from what follows |"
    ]
    rows.append("|---|---|---|---|---|---|")
    kinds = {(s.edit.file, s.edit.kind): s.edit for s in sightings}
    for file, kind in sorted(kinds):
        own = [s for s in sightings if (s.edit.file, s.edit.kind) == (file, kind)]
        counts = [sum(map(bool, column)) for column in zip(*map(_columns, own), strict=True)]
        rows.append(
            f"| `{file}` | {kind} | {len(own)} | " + " | ".join(map(_number, counts)) + " |"
        )
    total = [sum(map(bool, column)) for column in zip(*map(_columns, sightings), strict=True)]
    numbers = " | ".join(map(_number, total))
    return "\n".join([*rows, f"| all | | {len(sightings)} | {numbers} |"])


def _columns(s: Sighting) -> tuple[bool, bool, bool]:
    return bool(s.refused), bool(s.ran), bool(s.compared)


def _number(n: int) -> str:
    return str(n) if n else ""


def chosen(seed: int) -> list[Edit]:
    """One kind of edit of every file, by lot."""
    r = np.random.default_rng(seed)
    files = dict.fromkeys(e.file for e in KINDS)
    return [own[r.integers(len(own))] for f in files if (own := [e for e in KINDS if e.file == f])]
