"""What a traced operation gives: a tensor of the network, a constant, or the state of a neuron."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from purespike.compiler.ir.forms import Form
from purespike.compiler.ir.graph import Shape

Axis = Literal["T", "B", "TB", "1"]
"""A leading axis: time, samples, both merged, or one of length 1."""

Kind = Literal["bool", "int", "float"]

SEQUENCE: tuple[Axis, ...] = ("T", "B")
STEP: tuple[Axis, ...] = ("B",)
MERGED: tuple[Axis, ...] = ("TB",)


@dataclass(frozen=True)
class Value:
    """A tensor of the network.

    Attributes:
        form: What it is, in edges of the graph.
        lead: Its axes in front of those of a sample.
        shape: Of one sample at one step, as the module sees it.
        kind: Its element type, which decides what ``+`` and ``~`` mean.
        mean: Whether it is a mean over time.
        path: The module in whose forward it was made.
    """

    form: Form
    lead: tuple[Axis, ...]
    shape: Shape
    kind: Kind = "float"
    mean: bool = False
    path: str = ""


@dataclass(frozen=True)
class Constant:
    """A parameter, or what was computed of parameters alone."""

    tensor: Tensor


@dataclass(frozen=True)
class State:
    """What a neuron of another framework keeps: a membrane, or a synaptic current.

    Attributes:
        path: Of the neuron.
    """

    path: str
