"""Where edges meet: sums, logic gates on spikes, delays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar, Literal

import numpy as np

from purespike.compiler.ir.domain import SPIKE, Array, Domain, total, with_zero
from purespike.compiler.ir.graph import Edge, IRError, Op, Shape, frozen
from purespike.compiler.ir.ops.synapse import broadcasts

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


@dataclass(frozen=True, eq=False)
class Delay(Op):
    """Gives back its input ``steps`` time steps later, zeros before; may close a loop.

    ``steps`` is a whole number, or one for each place: an array that broadcasts to the input's
    shape, such as (C, 1, 1). An array of equal numbers becomes the number.
    """

    steps: int | Array
    delays: ClassVar[bool] = True

    def __post_init__(self) -> None:
        steps = frozen(self.steps)
        if not steps.size or steps.min() < 1 or bool((np.rint(steps) != steps).any()):
            raise IRError(
                "a delay lasts at least one step, and whole steps",
                found=", ".join(f"{n:g}" for n in np.unique(steps)[:4]),
            )
        same = bool((steps == steps.flat[0]).all())
        object.__setattr__(self, "steps", int(steps.flat[0]) if same else steps)

    @property
    def longest(self) -> int:
        """Steps of the place that waits longest."""
        return int(np.max(self.steps))

    def infer(self, *inputs: Edge) -> tuple[Shape, Domain]:
        """Same shape; the domain also holds the zeros of the first steps."""
        (x,) = inputs
        if not isinstance(self.steps, int):
            broadcasts(self.steps, x)
        return x.shape, with_zero(x.domain)

    def start(self, batch: int, shape: Shape) -> Array:
        """The last ``longest`` inputs, oldest first: (longest, B, *shape)."""
        return np.zeros((self.longest, batch, *shape))

    def read(self, state: Array) -> Array:
        """What comes out, which does not depend on the input of this step."""
        if isinstance(self.steps, int):
            oldest: Array = state[0]
            return oldest
        line = np.broadcast_to(self.longest - self.steps.astype(np.intp), state.shape[1:])
        out: Array = np.take_along_axis(state, line[None], axis=0)[0]
        return out

    def step(self, state: Array, *inputs: Array) -> tuple[Array, Array]:
        """Emit what has waited long enough, keep the newest."""
        return np.concatenate([state[1:], inputs[0][None]]), self.read(state)

    def arrays(self) -> dict[str, Array]:
        """The steps, where they differ."""
        return {} if isinstance(self.steps, int) else {"steps": self.steps}

    def details(self) -> str:
        """How long."""
        if isinstance(self.steps, int):
            return f"{self.steps} step{'s' if self.steps > 1 else ''}"
        return f"{int(self.steps.min())} to {self.longest} steps, {self.steps.shape}"
