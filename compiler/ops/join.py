"""Where edges meet: sums, logic gates on spikes, delays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar, Literal

import numpy as np

from purespike.compiler.domain import SPIKE, Array, Domain, total
from purespike.compiler.ir import Edge, IRError, Op, Shape

GateKind = Literal["and", "or", "iand", "xor"]


def _same_shape(inputs: tuple[Edge, ...], name: str) -> Shape:
    if len(inputs) < 2 or any(e.shape != inputs[0].shape for e in inputs):
        raise IRError(
            f"{name} needs two or more inputs of one shape", found=", ".join(map(str, inputs))
        )
    return inputs[0].shape


@dataclass(frozen=True)
class Add(Op):
    """The sum of its inputs: currents meeting at a dendrite, or SEW's ADD of spikes."""

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """One shape; the domain of the sum."""
        return _same_shape(inputs, "a sum"), total(tuple(e.domain for e in inputs))

    def step(self, state: None, *inputs: Array) -> tuple[None, Array]:
        """Add them up."""
        return None, reduce(np.add, inputs)


@dataclass(frozen=True)
class Gate(Op):
    """Logic on spikes: AND, OR, XOR of all inputs; IAND is ``(not a) and b`` of inputs (a, b).

    In a residual block ``a`` is the residual function's spike and ``b`` the identity
    (full-spike AAP paper, Table 1).
    """

    kind: GateKind

    def __post_init__(self) -> None:
        if self.kind not in ("and", "or", "iand", "xor"):
            raise IRError("unknown gate", found=repr(self.kind), allowed="and, or, iand, xor")

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """Spikes in, spikes out."""
        shape = _same_shape(inputs, f"gate {self.kind}")
        for edge in inputs:
            if not edge.domain <= SPIKE:
                raise IRError(
                    f"gate {self.kind} takes spikes only",
                    found=str(edge),
                    allowed="spike",
                    remedy="put a spiking neuron before the gate",
                )
        if self.kind == "iand" and len(inputs) != 2:
            raise IRError("gate iand takes two inputs", found=str(len(inputs)))
        return shape, SPIKE

    def step(self, state: None, *inputs: Array) -> tuple[None, Array]:
        """Logic on 0 and 1."""
        bits = [x > 0 for x in inputs]
        if self.kind == "iand":
            y = ~bits[0] & bits[1]
        else:
            join = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[self.kind]
            y = reduce(join, bits)
        return None, y.astype(np.float64)

    def details(self) -> str:
        """Which gate."""
        return self.kind


@dataclass(frozen=True)
class Delay(Op):
    """Gives back its input ``steps`` time steps later, zeros before; may close a loop."""

    steps: int
    delays: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise IRError("a delay lasts at least one step", found=str(self.steps))

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """Same shape; the domain also holds the zeros of the first steps."""
        (x,) = inputs
        if not x.domain.holds(np.zeros(1)):
            raise IRError("a delay starts with zeros", found=str(x), allowed="a domain with zero")
        return x.shape, x.domain

    def start(self, batch: int, shape: Shape) -> Array:
        """The last ``steps`` inputs, oldest first: (steps, B, *shape)."""
        return np.zeros((self.steps, batch, *shape))

    def step(self, state: Array, *inputs: Array) -> tuple[Array, Array]:
        """Emit the oldest, keep the newest."""
        return np.concatenate([state[1:], inputs[0][None]]), state[0]

    def details(self) -> str:
        """How long."""
        return f"{self.steps} step{'s' if self.steps > 1 else ''}"
