"""What a neuron can compute besides: what it reads and nothing else does.

That is a normalization, and the convolution that nothing but such a normalization reads.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import fx, nn

from purespike.trainer.nn import layers
from purespike.trainer.nn.kernel import SLOPES
from purespike.trainer.nn.neuron import IF, LIF, Neuron

__all__ = ["pairs"]


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not any(True for _ in m.children())


def pairs(model: nn.Module) -> list[tuple[str, str, str]]:
    """Names of normalizations, their neurons and their convolutions, empty where there is none.

    There are no pairs if the network cannot be traced.
    """
    modules = dict(model.named_modules())
    try:
        graph = _traced(model)
    except Exception:  # whatever a network's own code may raise on a proxy
        return []
    nodes = [node for node in graph.nodes if node.op == "call_module"]
    calls = [str(node.target) for node in nodes]
    found = []
    for node in nodes:
        readers = list(node.users)
        if len(readers) != 1 or readers[0].op != "call_module":
            continue
        norm, neuron = str(node.target), str(readers[0].target)
        if (
            type(modules[norm]) in (layers.BatchNorm2d, layers.ThresholdBatchNorm2d)
            and type(modules[neuron]) in (Neuron, IF, LIF)
            and _known(modules[neuron])
            and calls.count(norm) == calls.count(neuron) == 1
            and readers[0].args[:1] == (node,)
        ):
            found.append((norm, neuron, _convolution(node, modules, calls)))
    return found


def _convolution(norm: fx.Node, modules: dict[str, nn.Module], calls: list[str]) -> str:
    """The convolution in front of a normalization that nothing else reads, or the empty string."""
    node = norm.args[0] if norm.args else None
    if not isinstance(node, fx.Node) or node.op != "call_module" or len(node.users) != 1:
        return ""
    name = str(node.target)
    return name if type(modules[name]) is layers.Conv2d and calls.count(name) == 1 else ""


def _traced(model: nn.Module) -> fx.Graph:
    """As in training. One call is looked at, so nothing may depend on an argument left out."""
    if any(p.default is not p.empty for p in inspect.signature(model.forward).parameters.values()):
        raise TypeError("its forward may be called in several ways")
    was = {module: module.training for module in model.modules()}
    try:
        return _Tracer().trace(model.train())
    finally:
        for module, training in was.items():
            module.training = training


def _known(neuron: Any) -> bool:
    plain = all(isinstance(c, int | float) for c in (neuron.threshold, neuron.amount))
    return plain and not neuron.rectified and type(neuron.surrogate) in SLOPES
