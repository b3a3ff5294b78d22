"""Small relatives of the named networks, alive at random weights, and how to compare them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.verify import verify
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales
from purespike.compiler.passes.fuse_batchnorm import fuse_batchnorm
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.compiler.passes.strip_auxiliary import strip_auxiliary
from purespike.compiler.proofs.counts import dense_counts
from purespike.compiler.rules.graph_rules import (
    check_arithmetic,
    check_auxiliary,
    check_domains,
    check_operations,
)
from purespike.trainer.capture.trace import capture
from purespike.trainer.networks.dual_stream import DualStreamNetwork
from purespike.trainer.networks.models import build_network
from purespike.trainer.nn.neuron import Neuron

STEPS, CHANNELS, CLASSES = 2, 2, 5


def lively(model: DualStreamNetwork) -> DualStreamNetwork:
    """Random statistics, so that every layer fires and no membrane meets a tie; in float64."""
    torch.manual_seed(0)
    neuron = model.config.neuron
    drive = 0.7 * neuron.threshold / neuron.input_scale
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0.0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 2.0)
            nn.init.normal_(module.bias, drive, 0.3)
    return model.double().eval()


def small(name: str, size: int, **options: Any) -> DualStreamNetwork:
    """A narrow named network for spikes of two channels."""
    settings = {"in_channels": CHANNELS, "classes": CLASSES, "steps": STEPS, "size": size}
    return lively(build_network(name, seed=1, **{**settings, **options}))


def spikes(size: int, batch: int = 2) -> Tensor:
    """Random input (T, B, C, H, W)."""
    generator = torch.Generator().manual_seed(0)
    shape = (STEPS, batch, CHANNELS, size, size)
    return (torch.rand(shape, generator=generator) < 0.4).double()


def run_torch(model: nn.Module, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The spikes of every neuron module, and the logits."""
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda m, i, o, name=name: seen.__setitem__(name, o))
        for name, module in model.named_modules()
        if isinstance(module, Neuron)
    ]
    with torch.no_grad():
        logits = model(x)
    for hook in hooks:
        hook.remove()
    return seen, logits


def lowered(model: DualStreamNetwork) -> tuple[Graph, Graph]:
    """The captured graph, and what the passes make of it before quantization."""
    shape = (model.config.in_channels, *model.config.size)
    captured = capture(model, shape, model.config.steps).graph
    verify(captured)
    graph = captured
    for rewrite in (strip_auxiliary, fuse_batchnorm, fold_scales, lower_gates):
        graph = rewrite(graph)
    verify(graph)
    return captured, graph


def assert_same_spikes(graph: Graph, model: DualStreamNetwork, x: Tensor) -> None:
    """Every neuron of the graph fires as in torch, and the main logits agree."""
    seen, logits = run_torch(model, x)
    trace = run(graph, x.numpy())
    compared = [name for name in seen if name in trace.values]
    needed = {graph.origin(n.name) for n in graph.nodes}
    assert set(compared) == {name for name in seen if name in needed}
    for name in compared:
        np.testing.assert_array_equal(trace.values[name], seen[name], err_msg=name)
    rates = [float(seen[name].mean()) for name in compared]
    assert min(rates) > 0.0 and max(rates) < 1.0, "a layer shows nothing"
    found = trace.values[graph.outputs[0]][-1]
    np.testing.assert_allclose(found, logits["main"], rtol=0, atol=1e-9)


def failing(graph: Graph) -> dict[str, set[str]]:
    """Where each rule about what an operation is and receives fails; leaks may multiply."""
    census = {n.name: dense_counts(graph, n) for n in graph.nodes}
    findings = [
        *check_domains(graph),
        *check_auxiliary(graph, ()),
        *check_operations(graph),
        *check_arithmetic(graph, census, leak_multiplies=True),
    ]
    places: dict[str, set[str]] = {}
    for f in findings:
        if f.status == "FAIL":
            places.setdefault(f.rule.id, set()).add(f.where)
    return places
