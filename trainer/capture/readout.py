"""How the output of a module is read, the same in training, evaluation and compilation.

| what the module puts out at each step | what is read |
|---|---|
| spikes | their counts over the sample |
| the membrane of a neuron that never fires | the membrane at the last step |
| other numbers, as a linear layer at the end does | their mean over the sample |

The mean of a layer's currents is the membrane of an integrator, which is what the chip gets.
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Flatten, Neuron, TimeMean
from purespike.compiler.ir.rewrite import draft
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.interop.recognize import is_stateful
from purespike.trainer.capture.loops import refuse_loops
from purespike.trainer.capture.trace import Capture, capture

__all__ = ["averaged", "capture_deployed", "on_sequences", "reads_membrane"]


def capture_deployed(
    model: nn.Module, shape: tuple[int, ...], steps: int, *, domain: Domain = SPIKE
) -> Capture:
    """The graph of ``model`` with its readout; arguments and errors as of `capture`."""
    found = capture(model, shape, steps, domain=domain)
    return replace(found, graph=averaged(found.graph))


def on_sequences(
    module: nn.Module, shape: tuple[int, ...], steps: int, domain: Domain = SPIKE
) -> nn.Module:
    """A model of SpikingJelly, snnTorch or sinabs as it takes (T, B, ...); others as they are.

    What is returned is read as its graph is, by whoever averages over a time axis that is left.

    Args:
        module: The model, or one that its user has put behind `Imported`.
        shape: Of its input, at one step of one sample.
        steps: T.
        domain: What its input carries.

    Raises:
        ConfigError: If it goes through the time steps itself, and `Imported` is not told so.
    """
    if any(isinstance(part, Imported) for part in module.modules()):
        if type(module) is not Imported:
            return module
        wrapped = module
    elif any(is_stateful(part) for part in module.modules()):
        wrapped = Imported(module)
    else:
        return module
    if wrapped.stepwise:
        refuse_loops(wrapped, shape)
    try:
        graph = capture(wrapped, shape, steps, domain=domain).graph
    except PurespikeError:
        return wrapped  # whoever compiles it is told why
    if reads_membrane(graph) and not wrapped.reads_last:
        wrapped = Imported(wrapped.model, wrapped.takes)  # the user's own is left as it is
        wrapped.reads_last = True
    return wrapped


def averaged(graph: Graph) -> Graph:
    """The graph with a mean over time behind its first output, if that is how it is read."""
    name, *others = graph.outputs
    node = graph.producer(name)
    means = {n.name for n in graph.nodes if isinstance(n.op, TimeMean)}
    if (
        node is None
        or graph.edge(name).domain <= SPIKE
        or reads_membrane(graph)
        or not means.isdisjoint(graph.ancestors([name]))
    ):
        return graph
    mean = draft(node, f"{name}.mean", TimeMean(graph.steps), (name,))
    return graph.rebuilt((*graph.nodes, mean), (mean.name, *others))


def reads_membrane(graph: Graph) -> bool:
    """Whether the first output is the membrane of a neuron that never fires."""
    node: Node | None = graph.producer(graph.outputs[0])
    while node is not None and isinstance(node.op, Flatten):
        node = graph.producer(node.inputs[0])
    return node is not None and isinstance(node.op, Neuron) and not node.op.fires
