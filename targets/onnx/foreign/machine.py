"""One pass over the nodes of a step: each ONNX operator as algebra on values, or as a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.atoms import Atoms
from purespike.compiler.ir.forms import (
    Form,
    constant,
    is_binary,
    minus,
    plus,
    scaled,
    tabled,
    times,
)
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.constants import (
    POINTWISE,
    attributes,
    folded,
    literal,
    read_tensor,
)
from purespike.targets.onnx.foreign.files import KNOWN_NEURON
from purespike.targets.onnx.foreign.layers import LAYERS, Site, Value, biased
from purespike.targets.onnx.foreign.naming import label, title

BROKEN = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What numpy and the onnx package raise on arguments that are not as an operator's are."""


@dataclass
class Machine:
    """The values of one step, by the name of their tensor.

    Attributes:
        atoms: Makes inputs, layers and spikes.
        batch: Samples in the file's own example, -1 where the file leaves them open.
        values: By tensor name.
    """

    atoms: Atoms
    batch: int
    values: dict[str, Value] = field(default_factory=dict)

    def constant(self, tensor: TensorProto) -> None:
        """Take in a constant.

        Raises:
            OnnxError: If it is damaged, too large, or holds no numbers.
        """
        try:
            self.values[tensor.name] = read_tensor(tensor)
        except BROKEN as e:
            raise OnnxError(
                "a constant is damaged", where=f"initializer {tensor.name!r}", found=_line(e)
            ) from None

    def run(self, node: NodeProto) -> None:
        """Compute one node.

        Raises:
            OnnxError: If it has no meaning here; the error names it.
        """
        try:
            missing = [i for i in node.input if i and i not in self.values]
            if missing:
                raise OnnxError("it reads a tensor that no node before it writes", found=missing[0])
            xs = [self.values[i] if i else None for i in node.input]
            value = self._value(node, xs)
        except (*BROKEN, PurespikeError) as e:
            raise self._refused(node, e) from None
        for name in node.output[:1]:
            if name in self.values:
                raise OnnxError("two nodes write one tensor", where=label(node), found=name)
            self.values[name] = value

    @staticmethod
    def _refused(node: NodeProto, e: Exception) -> OnnxError:
        if isinstance(e, PurespikeError):
            details = {k: getattr(e, k) for k in ("found", "allowed", "remedy")}
            return OnnxError(e.message, where=label(node), **details)
        return OnnxError(
            f"the arguments of {node.op_type} are not as its definition says",
            where=label(node),
            found=_line(e),
        )

    def _value(self, node: NodeProto, xs: list[Value | None]) -> Value:
        kind = node.op_type
        if kind == "Constant":
            return literal(node)
        if kind == "Shape" and isinstance(xs[0], Form):
            if set(attributes(node)) - {"start"} or attributes(node).get("start"):
                raise OnnxError("a part of a shape is taken", found="start, end")
            return np.array([self.batch, *xs[0].shape], np.int64)
        if not any(isinstance(x, Form) for x in xs):
            return folded(node, xs)  # type: ignore[arg-type]  # no Form is among them
        if kind in POINTWISE:
            return self.atoms.gated(self._pointwise(node, xs), title(node), label(node))
        if kind in LAYERS:
            return LAYERS[kind](Site(node, self.atoms, self.batch), xs)
        raise OnnxError(
            "an operator that is not known takes values of the network",
            found=kind,
            allowed=", ".join(sorted((*POINTWISE, *LAYERS))),
            remedy="express the step with these, or leave what it does to the host",
        )

    def _pointwise(self, node: NodeProto, xs: Sequence[Value | None]) -> Form:
        """Sums, products and comparisons exactly; any other function of few spikes by its table."""
        shapes = {x.shape for x in xs if isinstance(x, Form)}
        if len(shapes) > 1:
            raise OnnxError(
                "values of different shapes meet",
                found=" and ".join(f"(N, {', '.join(map(str, s))})" for s in sorted(shapes)),
                allowed="one shape; constants may be spread",
            )
        (shape,) = shapes
        forms = [x if isinstance(x, Form) else constant(shape, x) for x in xs if x is not None]
        if node.op_type == "Add":
            site = Site(node, self.atoms, self.batch)
            made = biased(site, forms[0], forms[1]) or biased(site, forms[1], forms[0])
            return made or plus(*forms)
        if node.op_type in _ALGEBRA:
            return _ALGEBRA[node.op_type](forms)
        present = [x is not None for x in xs]  # Clip may leave out a bound

        def function(*values: Any) -> Any:
            given = iter(values)
            return POINTWISE[node.op_type](*(next(given) if p else None for p in present))

        table = tabled(function, *forms)
        if table is not None:
            return table
        if node.op_type in _COMPARE:
            first, strict = _COMPARE[node.op_type]
            gap = minus(forms[first], forms[1 - first])
            return self.atoms.spike(gap, strict, title(node), label(node))
        raise OnnxError(
            f"{node.op_type} of a membrane or current: no neuron of the graph does that",
            found=", ".join(r.name for f in forms for r in f.reals()),
            allowed=f"Add, {', '.join(sorted(_ALGEBRA))}, comparisons; of up to 4 spikes all",
            remedy=KNOWN_NEURON,
        )


def _line(e: Exception) -> str:
    return str(e).splitlines()[0][:120] if str(e) else type(e).__name__


def _where(forms: list[Form]) -> Form:
    """``b + c (a - b)``."""
    c, a, b = forms
    if not is_binary(c):
        raise OnnxError("a choice by something that is neither a comparison nor logic of spikes")
    return plus(b, times(c, minus(a, b)))


def _quotient(forms: list[Form]) -> Form:
    a, b = forms
    if not b.constant() or not bool(b.of().all()):
        raise OnnxError("a division by a value of the network, or by zero")
    return scaled(a, 1.0 / b.of())


def _sum(forms: list[Form]) -> Form:
    total = forms[0]
    for other in forms[1:]:
        total = plus(total, other)
    return total


_ALGEBRA: dict[str, Callable[[list[Form]], Form]] = {
    "Sum": _sum,
    "Sub": lambda f: minus(*f),
    "Mul": lambda f: times(*f),
    "Div": _quotient,
    "Neg": lambda f: scaled(f[0], -1.0),
    "Where": _where,
}
_COMPARE = {  # the operand that must be larger, and whether truly so
    "Greater": (0, True),
    "GreaterOrEqual": (0, False),
    "Less": (1, True),
    "LessOrEqual": (1, False),
}
