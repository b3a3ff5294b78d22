"""What NIR leaves open and the caller states."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from purespike.compiler.choices import Current, Feedback, Fires, IfR, RecurrentBias, Reset, settle
from purespike.compiler.ir.domain import Domain
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.wording import Advice
from purespike.targets.nir.document import Document
from purespike.targets.nir.errors import NirError, NirFileError
from purespike.targets.nir.foreign.loops import needs_recurrent_bias
from purespike.targets.nir.foreign.order import prompt_loops

CUBA = {"CubaLI", "CubaLIF"}
FIRING = {"Threshold", "IF", "LIF", "CubaLIF"}
WHY = {
    "dt": "NIR is written in continuous time and names no time step (seconds)",
    "steps": "NIR does not say how many time steps a sample lasts",
    "reset": "NIR files do not say reliably what a spike does to the membrane (zero or subtract)",
    "if_r": "tools disagree: IF and I add r * x a step ('step') or dt * r * x ('dt')",
    "current": "tools disagree: the membrane of CubaLI and CubaLIF takes the synaptic current "
    "after it was updated in a step ('new') or before ('previous')",
    "recurrent_bias": "tools disagree: the bias in a loop is there from the first step on "
    "('always': snnTorch) or comes with what the loop carries, a step late ('delayed': Norse)",
    "feedback": "a loop has no Delay node, and NIR does not say which edge takes a step",
    "fires": "tools disagree where a membrane equals the threshold: NIR's text, snnTorch and Norse "
    "fire 'above' it, SpikingJelly, sinabs and Rockpool 'at' it, too",
}


@dataclass(frozen=True)
class Conventions:
    """What the caller states about a file; see `purespike.targets.nir.read.read_nir`."""

    dt: float | None = None
    reset: Reset | None = None
    if_r: IfR | None = None
    steps: int | None = None
    domain: Domain | None = None
    feedback: Feedback | None = None
    current: Current | None = None
    recurrent_bias: RecurrentBias | None = None
    fires: Fires | None = None

    def __post_init__(self) -> None:
        settle(self)
        if self.dt is not None and not 0 < self.dt < math.inf:
            raise NirError("dt is a time", found=f"{self.dt}", allowed="more than 0 s")
        if self.steps is not None and self.steps < 1:
            raise NirError("a sample lasts whole time steps", found=f"{self.steps}", allowed=">= 1")

    def filled(self, document: Document) -> Conventions:
        """With what the metadata of another tool says; raises NirFileError if they differ."""
        for name, said in document.said.items():
            stated = getattr(self, name)
            if stated is not None and stated != said:
                raise NirFileError(
                    f"the file's metadata says another {name}",
                    found=f"stated {stated}, in the file {said}",
                    remedy=Advice(f"leave out {{{name}}}, or correct the file"),
                )
        return replace(self, **dict[str, Any](document.said))

    def require(self, document: Document, *, tie: str = "") -> tuple[float, int]:
        """(dt, steps); raises NirFileError that lists all that this file needs and nobody said.

        Args:
            document: The file.
            tie: The neuron whose membrane can equal its threshold, if that is known already.
        """
        kinds = {str(f["type"]) for f in document.nodes.values()}
        needs = {
            "dt": True,
            "steps": True,
            "reset": bool(kinds & {"IF", "LIF", "CubaLIF"}),
            "if_r": bool(kinds & {"IF", "I"}),
            "current": bool(kinds & CUBA),
            "recurrent_bias": needs_recurrent_bias(document, self.dt),
            "feedback": bool(prompt_loops(document)),
        }
        missing = [n for n, needed in needs.items() if needed and getattr(self, n) is None]
        # Whether numbers can tie depends on the rest: while that is open, this is, too.
        if self.fires is None and (tie or (missing and kinds & FIRING)):
            missing.append("fires")
        if self.dt is None or self.steps is None or missing:
            remedy = "state them as the tool that wrote the file meant them"
            if self.domain is None:
                remedy += "; where the inputs are spikes (0 or 1), state {domain}, too"
            raise NirFileError(
                "purespike did not write this file, and it leaves open: " + ", ".join(missing),
                where=f"node {tie}" if tie else "",
                open={n: WHY[n] for n in missing},
                remedy=Advice(remedy),
            )
        return self.dt, self.steps

    def agree(self, graph: Graph) -> None:
        """Raise NirFileError if a purespike file states something else than the caller."""
        resets = {n.op.reset for n in graph.nodes if isinstance(n.op, Neuron) and n.op.fires}
        clashes = {
            "dt": (self.dt, graph.dt, self.dt == graph.dt),
            "steps": (self.steps, graph.steps, self.steps == graph.steps),
            "reset": (self.reset, ", ".join(sorted(resets)), resets <= {self.reset}),
            "if_r": (self.if_r, "step", self.if_r == "step"),
            "current": (self.current, "new", self.current == "new"),
            "recurrent_bias": (self.recurrent_bias, "by the place of each delay", False),
            "fires": (self.fires, "above", self.fires == "above"),
            "domain": (
                self.domain,
                ", ".join(str(e.domain) for e in graph.inputs),
                all(e.domain == self.domain for e in graph.inputs),
            ),
        }
        for name, (stated, written, same) in clashes.items():
            if stated is not None and not same:
                raise NirFileError(
                    f"the file states another {name}",
                    found=f"stated {stated}, written {written}",
                    remedy=Advice(
                        f"leave out {{{name}}}: purespike wrote the file, and it says all"
                    ),
                )
