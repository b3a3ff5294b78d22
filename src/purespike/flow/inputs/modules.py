"""Torch modules made ready to be captured."""

from __future__ import annotations

from torch import nn

from purespike.compiler.ir import ops
from purespike.compiler.ir.domain import Domain
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.interop.recognize import is_stateful
from purespike.trainer.capture.trace import capture
from purespike.trainer.nn.layers import TimeMean


def on_sequences(
    module: nn.Module, shape: tuple[int, ...], steps: int, domain: Domain
) -> nn.Module:
    """A model of SpikingJelly or snnTorch on sequences; any other module as it is.

    Where it ends in currents, and not in a neuron or a mean, their mean over time are the scores.
    """
    if not any(is_stateful(m) for m in module.modules()):
        return module
    if any(isinstance(m, Imported) for m in module.modules()):  # wrapped already, as its user says
        return module
    wrapped = Imported(module)
    graph = capture(wrapped, shape, steps, domain=domain).graph
    last = graph.producer(graph.outputs[0])
    made = graph.ancestors(graph.outputs[:1])
    averaged = any(isinstance(n.op, ops.TimeMean) for n in graph.nodes if n.name in made)
    neuron = last is not None and isinstance(last.op, ops.Neuron)  # its spikes, or its membrane
    return wrapped if neuron or averaged else nn.Sequential(wrapped, TimeMean())
