"""Steps of other tools as ONNX: exported from torch modules, run in ONNX Runtime, compared."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace, run
from purespike.compiler.ir.ops import Neuron
from purespike.targets.onnx.foreign.step import read_step

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Step:
    """A module whose forward is one step, ``(x, *states) -> (*outputs, *next states)``.

    Attributes:
        module: In eval mode.
        shape: Of x, one sample.
        states: Shapes of the states, in order, by name.
        outputs: Names of what it returns beside the states.
        named: Whether the file says which output is which state.
    """

    module: nn.Module
    shape: tuple[int, ...]
    states: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...] = ("spikes",)
    named: bool = True

    def export(self, path: Path, batch: int = 2, **options: Any) -> Path:
        """Write the file with torch's exporter; the batch stays open where names are given."""
        inputs = ["x", *self.states]
        outputs = [*self.outputs, *(f"{s}_out" for s in self.states)]
        names: dict[str, Any] = {}
        if self.named:
            axes = {n: {0: "N"} for n in (*inputs, *outputs)}
            names = {"input_names": inputs, "output_names": outputs, "dynamic_axes": axes}
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own, about its successor
            torch.onnx.export(
                self.module, self.zeros(batch), str(path), dynamo=False, **(names | options)
            )
        return path

    def zeros(self, batch: int) -> tuple[Tensor, ...]:
        """Arguments of a batch at rest."""
        return tuple(torch.zeros(batch, *s) for s in (self.shape, *self.states.values()))

    def walk(self, call: Callable[[Sequence[Array]], Sequence[Array]], x: Array) -> list[Array]:
        """Step through x (T, B, *shape): each output and each next state, (T, B, ...)."""
        states = [np.zeros((x.shape[1], *s), np.float32) for s in self.states.values()]
        rows = []
        for xt in x.astype(np.float32):
            row = list(call([xt, *states]))
            states = row[len(self.outputs) :]
            rows.append(row)
        return [np.stack(column) for column in zip(*rows, strict=True)]

    def walk_module(self, x: Array) -> list[Array]:
        """The module itself."""

        def call(arrays: Sequence[Array]) -> list[Array]:
            with torch.no_grad():
                made = self.module(*(torch.from_numpy(a) for a in arrays))
            return [m.numpy().copy() for m in made]

        return self.walk(call, x)

    def walk_file(self, path: Path, x: Array) -> list[Array]:
        """ONNX Runtime on the file."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        names = [i.name for i in session.get_inputs()]
        return self.walk(lambda a: session.run(None, dict(zip(names, a, strict=True))), x)


def spikes(step: Step, steps: int, batch: int = 2, seed: int = 0, rate: float = 0.5) -> Array:
    """Random spikes (T, B, *shape)."""
    r = np.random.default_rng(seed)
    return (r.random((steps, batch, *step.shape)) < rate).astype(np.float32)


def on_grid(module: nn.Module, seed: int = 0, unit: float = 1 / 16, reach: int = 8) -> nn.Module:
    """The module with weights that are whole multiples of ``unit``: float32 sums are exact."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            for p in layer.parameters():
                whole = torch.randint(-reach, reach + 1, p.shape, generator=generator)
                p.data = whole.to(p.dtype) * unit
    return module.eval()


def read(path: Path, x: Array, domain: Domain = SPIKE) -> tuple[Graph, Trace]:
    """The graph of a file, and what the interpreter makes of x."""
    graph = read_step(path, steps=len(x), domain=domain)
    return graph, run(graph, x)


def mismatch(
    step: Step,
    path: Path,
    x: Array,
    membranes: Mapping[str, str],
    late: bool | Collection[str] = False,
) -> str:
    """The first difference between a file's network and its two originals; empty if there is none.

    The last output of the graph is compared with the module's first, spike for spike, and every
    membrane with the state that it was read from, at every step.

    Args:
        step: What was exported.
        path: The file.
        x: Input (T, B, *shape).
        membranes: The neuron in the graph by the name of its state.
        late: Whether the file resets in the next step, or the states where it does: these
            membranes are those before the reset.
    """
    graph, trace = read(path, x)
    for what, rows in (("module", step.walk_module(x)), ("file", step.walk_file(path, x))):
        made = trace.values[graph.outputs[0]]
        if not np.array_equal(made, rows[0]):
            return f"{what}: output differs at {np.argwhere(made != rows[0])[0]}"
        states = dict(zip(step.states, rows[len(step.outputs) :], strict=True))
        for state, name in membranes.items():
            node = graph.producer(name)
            assert node is not None and isinstance(node.op, Neuron)
            held, expected = trace.membranes[name], states[state]
            fired = trace.values[name] > 0 if node.op.fires else np.zeros(held.shape, bool)
            after = late if isinstance(late, bool) else state in late
            if after and node.op.reset == "subtract":
                held = held + node.op.amount * fired
            elif after:  # a reset to zero has forgotten it, as the file will in its next step
                held = np.where(fired, expected, held)
            if not np.array_equal(held, expected):
                at = np.argwhere(held != expected)[0]
                return f"{what}: membrane {state} at {at}: {held[tuple(at)]}, {expected[tuple(at)]}"
    return ""
