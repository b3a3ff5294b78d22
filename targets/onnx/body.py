"""The nodes of one time step while they are written: tensors, casts, constants, states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import GraphProto, TensorProto, ValueInfoProto, helper

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, Shape

BOOL, U8, I32, I64 = (
    int(TensorProto.BOOL),
    int(TensorProto.UINT8),
    int(TensorProto.INT32),
    int(TensorProto.INT64),
)
_NUMPY: dict[int, type] = {BOOL: np.bool_, U8: np.uint8, I32: np.int32, I64: np.int64}
_LABEL = {BOOL: "bool", U8: "uint8", I32: "int32", I64: "int64"}


class OnnxError(PurespikeError):
    """A graph that this target cannot say exactly, or a file that it cannot run."""


@dataclass(frozen=True)
class State:
    """One tensor that a step hands to the next.

    Attributes:
        node: The neuron or delay that it belongs to.
        before: Name of the tensor that the step reads.
        after: Name of the tensor that the step writes.
        dtype: Element type, int32 or uint8, as numpy names it.
        shape: Shape of one sample.
        initial: Value at the start of a sample, the same for every element.
    """

    node: str
    before: str
    after: str
    dtype: str
    shape: Shape
    initial: int


class Body:
    """Writes nodes, and gives each edge in the element type that its reader needs.

    A spike has three forms: uint8 for synapses and outputs (named as the edge), bool for logic
    (``<edge>/bool``), int32 for sums (``<edge>/int32``). A form is cast when first asked for.
    """

    def __init__(self, into: GraphProto | None = None) -> None:
        """Write into a graph, such as a model's: messages are copied whole when they are joined."""
        self._step = GraphProto() if into is None else into
        self._step.name = "step"
        self.states: list[State] = []
        self.owners: dict[str, str] = {}  # of weights that copies share, see `weight_owners`
        self._names: set[str] = set()
        self._home: dict[str, int] = {}
        self._forms: dict[str, dict[int, str]] = {}

    def adopt(self, step: GraphProto) -> None:
        """Go on where ``step`` ends; its inputs and outputs, states too, stay the caller's."""
        self._step.node.extend(step.node)
        self._step.initializer.extend(step.initializer)
        self._names.update(v.name for v in (*step.input, *step.initializer))
        self._names.update(o for n in step.node for o in n.output)

    def claim(self, name: str) -> str:
        """Reserve a tensor name.

        Raises:
            OnnxError: If it is taken: two nodes of the graph have names that only differ by one
                of this target's suffixes.
        """
        if name in self._names:
            raise OnnxError(
                f"two tensors would bear the name {name!r}",
                where=f"%{name}",
                remedy="rename the module: _v, _v_in, _v_out, _u, _u_in, _u_out, _d<n>_in and "
                "_d<n>_out are reserved",
            )
        self._names.add(name)
        return name

    def op(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """One ONNX node; node and tensor bear the same name."""
        self.claim(output)
        node = helper.make_node(kind, inputs, [output], name=output, **attributes)
        self._step.node.append(node)
        return output

    def constant(self, name: str, value: ArrayLike, dtype: type, repeat: int = 1) -> str:
        """A named constant, such as a weight; ``repeat`` writes each row as often."""
        array = np.asarray(value)
        exact: NDArray[Any] = array.astype(dtype)
        if not np.array_equal(exact, array):
            raise OnnxError(
                f"the constant {name} does not fit {np.dtype(dtype).name}",
                found=f"{array.min():g} to {array.max():g}",
                where=f"%{name}",
            )
        exact = np.repeat(exact, repeat, axis=0) if repeat > 1 else exact
        kind = helper.np_dtype_to_tensor_dtype(exact.dtype)
        raw = exact.astype(exact.dtype.newbyteorder("<"), copy=False).tobytes()
        # In place: a message that is appended is copied first.
        self._step.initializer.add(name=name, dims=exact.shape, data_type=kind, raw_data=raw)
        return self.claim(name)

    def number(self, value: int, dtype: int = I32) -> str:
        """A scalar; equal scalars share one tensor."""
        name = f"const/{_LABEL[dtype]}/{value}"
        return name if name in self._names else self.constant(name, value, _NUMPY[dtype])

    def declare(self, edge: Edge, dtype: int) -> str:
        """The name of the tensor that carries ``edge`` in element type ``dtype``."""
        self._home[edge.name] = U8 if dtype == BOOL or edge.domain <= SPIKE else dtype
        name = self.form(edge.name, dtype)
        self._forms[edge.name] = {dtype: name}
        return name

    def form(self, edge: str, dtype: int) -> str:
        """The tensor name of an edge in one of its element types."""
        return edge if dtype == self._home[edge] else cast_name(edge, dtype)

    def home(self, edge: str) -> int:
        """The element type of the tensor that is named as the edge."""
        return self._home[edge]

    def read(self, edge: str, dtype: int) -> str:
        """The tensor that carries the edge in element type ``dtype``, cast if need be."""
        forms = self._forms[edge]
        if dtype not in forms:
            source = next(iter(forms.values()))
            forms[dtype] = self.op("Cast", [source], self.form(edge, dtype), to=dtype)
        return forms[dtype]

    def state(self, node: str, tag: str, dtype: int, shape: Shape, initial: int = 0) -> State:
        """A new state ``<node>_<tag>_in`` / ``_out``; the caller writes the latter."""
        state = State(
            node,
            self.claim(f"{node}_{tag}_in"),
            f"{node}_{tag}_out",
            _LABEL[dtype],
            shape,
            initial,
        )
        self.states.append(state)
        return state

    def graph(self, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto]) -> GraphProto:
        """The step, now complete: inputs, then states; outputs, then states."""
        self._step.input.extend(inputs)
        self._step.input.extend(tensor(s.before, s.dtype, s.shape) for s in self.states)
        self._step.output.extend(outputs)
        self._step.output.extend(tensor(s.after, s.dtype, s.shape) for s in self.states)
        return self._step


def cast_name(edge: str, dtype: int) -> str:
    """What a form of an edge is called that is not the one named as the edge."""
    return f"{edge}/{_LABEL[dtype]}"


def tensor(name: str, dtype: str | int, shape: Shape) -> ValueInfoProto:
    """The declaration of a tensor (N, *shape) with a free batch size N."""
    kind = dtype if isinstance(dtype, int) else {"uint8": U8, "int32": I32}[dtype]
    return helper.make_tensor_value_info(name, kind, ["N", *shape])


def whole(x: NDArray[Any]) -> bool:
    """Is every entry a finite integer?"""
    return bool(np.isfinite(x).all() and (np.rint(x) == x).all())
