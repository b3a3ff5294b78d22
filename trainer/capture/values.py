"""What a traced operation gives: a tensor of the network, a constant, or the state of a neuron."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from purespike.compiler.ir.forms import Form
from purespike.compiler.ir.graph import Shape

Axis = Literal["T", "B", "TB", "BT", "1"]
"""A leading axis: time, samples, both merged (the first changes slowest), or one of length 1."""

Kind = Literal["bool", "int", "float"]

SEQUENCE: tuple[Axis, ...] = ("T", "B")
STEP: tuple[Axis, ...] = ("B",)
MERGED: tuple[Axis, ...] = ("TB",)
SAMPLES_MERGED: tuple[Axis, ...] = ("BT",)


@dataclass(frozen=True)
class Value:
    """A tensor of the network.

    Attributes:
        form: What it is, in edges of the graph.
        lead: Its axes in front of those of a sample.
        shape: Of one sample at one step, as the module sees it.
        kind: Its element type, which decides what ``+`` and ``~`` mean.
        at: The step that it belongs to, where the forward goes through the steps itself.
        frame: Whether it is the same at every step.
        path: The module in whose forward it was made.
        slots: Into how many binary steps each step's counts are spread (SpikingJelly's
            SpikeCountToBinary), 0 for none.
        order: Where each number that is seen stands in ``form``, of the shape that is seen; None
            where they are only grouped anew.
    """

    form: Form
    lead: tuple[Axis, ...]
    shape: Shape
    kind: Kind = "float"
    at: int | None = None
    frame: bool = False
    path: str = ""
    slots: int = 0
    order: Any = field(default=None, compare=False, repr=False)

    @property
    def said(self) -> str:
        """Its axes, for an error: ``(T, B, 2, 8, 8)``."""
        return "(" + ", ".join([*self.lead, *map(str, self.shape)]) + ")"


@dataclass(frozen=True)
class Constant:
    """A parameter, or what was computed of parameters alone."""

    tensor: Tensor


@dataclass(frozen=True)
class State:
    """What a neuron of another framework keeps: a membrane, or a synaptic current.

    Attributes:
        path: Of the neuron.
        index: Which of its states, as it returns them.
        calls: After how many of its calls.
    """

    path: str
    index: int = 0
    calls: int = 1


@dataclass(frozen=True)
class Handed:
    """A state that the caller hands to a step, whatever neuron it is of."""

    index: int


def handed(x: Any, index: int) -> Any:
    """Marks in a trace a state that comes in."""
    return None


def returned(states: Any, handed: Any) -> Any:
    """Marks in a trace the states that go out, for those that came in."""
    return None


def relead(x: Any, lead: tuple[Axis, ...], frame: bool = False) -> Any:
    """Marks in a trace where time becomes implicit, and where it is there again."""
    return x
