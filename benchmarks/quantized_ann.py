"""Quantized ANNs as spikes: accuracy, operations, neurons and cores by levels of an activation.

python benchmarks/quantized_ann.py

Trains networks of Brevitas on digits (weights of 4 bits, 25 epochs), compiles each, and compares
every level and every decision with Brevitas' own forward.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

import purespike as ps
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Levels, Neuron
from purespike.trainer.capture.interop.brevitas import quantized_graph

EPOCHS = 25


def network(bits: int, conv: bool) -> nn.Module:
    import brevitas.nn as qnn
    from brevitas.quant import (
        Int8WeightPerChannelFloat,
        Int8WeightPerTensorFloat,
        Int32Bias,
        Uint8ActPerTensorFloat,
    )

    weights = {"weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": 4}
    last = {"weight_quant": Int8WeightPerTensorFloat, "weight_bit_width": 4}
    act = {"bit_width": bits, "return_quant_tensor": True}
    parts: list[nn.Module] = [qnn.QuantIdentity(act_quant=Uint8ActPerTensorFloat, **act)]
    if conv:
        for into, out in ((1, 8), (8, 16)):
            parts += [qnn.QuantConv2d(into, out, 3, padding=1, bias=False, **weights)]
            parts += [nn.BatchNorm2d(out), qnn.QuantReLU(**act)]
            parts += [nn.MaxPool2d(2)] if into == 1 else []
    features = 256 if conv else 64
    parts += [nn.Flatten(), qnn.QuantLinear(features, 64, bias=True, **weights)]
    parts += [qnn.QuantReLU(**act), qnn.QuantLinear(64, 10, True, bias_quant=Int32Bias, **last)]
    return nn.Sequential(*parts)


def value(x: Any) -> Tensor:
    return x.value if hasattr(x, "value") else x  # type: ignore[no-any-return]


def trained(net: nn.Module, x: Tensor, y: Tensor) -> nn.Module:
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(x)).split(128):
            loss = nn.functional.cross_entropy(value(net(x[batch])), y[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return net.eval()


def compared(net: nn.Module, x: Tensor) -> tuple[int, int, int, int]:
    """(levels, that differ, decisions that differ, those of them that are ties of sums)."""
    seen: dict[str, Any] = {}

    def note(path: str) -> Any:
        def hook(m: Any, inputs: Any, output: Any) -> None:
            seen[path] = torch.round(value(output) / m.act_quant.scale()).detach().numpy()

        return hook

    hooks = [
        m.register_forward_hook(note(p)) for p, m in net.named_modules() if hasattr(m, "act_quant")
    ]
    with torch.no_grad():
        theirs = value(net(x)).argmax(1).numpy()
    for hook in hooks:
        hook.remove()
    graph = quantized_graph(net, tuple(x.shape[1:]))
    values = run(graph, x.numpy()[None].astype(np.float64)).values
    total = different = 0
    for node in graph.nodes:
        if isinstance(node.op, Levels):
            off = seen[node.name] - values[node.name][0]
            constant = np.median(off.reshape(*off.shape[:2], -1), axis=(0, 2))  # always passed
            total += off.size
            different += int((off != constant.reshape(-1, *(1,) * (off.ndim - 2))).sum())
    sums = values[graph.outputs[0]][0]
    decided = np.flatnonzero(sums.argmax(1) != theirs)
    ties = int((sums[decided, theirs[decided]] == sums[decided].max(axis=1)).sum())
    return total, different, len(decided), ties


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8)
    y, test = torch.tensor(labels), torch.arange(len(labels)) % 5 == 0
    held = ps.Samples(x[test].numpy()[None], labels[test.numpy()])
    heads = "network, D, Brevitas %, spikes %, AC, neurons, cores, levels, differ, decisions, ties"
    print(f"| {heads.replace(', ', ' | ')} |")
    for conv in (True, False):
        for bits in (1, 2, 3, 4):
            torch.manual_seed(0)
            net = trained(network(bits, conv), x[~test], y[~test])
            with torch.no_grad():
                own = (value(net(x[test])).argmax(1) == y[test]).double().mean().item()
            levels, differ, decisions, ties = compared(net, x[test])
            build = ps.compile(net, held, host_encoder=True, lava="none")
            report, graph = build.report, build.graph
            assert report.census is not None and report.resources is not None
            neurons = sum(
                int(np.prod(n.output.shape))
                for n in graph.nodes
                if isinstance(n.op, Neuron) and n.role != "host"
            )
            print(
                f"| {'conv' if conv else 'dense'} | {2**bits - 1} | {100 * own:.1f} "
                f"| {100 * report.accuracy[-1].rate:.1f} | {report.census.chip.ac:,.0f} "
                f"| {neurons:,} | {report.resources.cores} | {levels:,} | {differ} "
                f"| {decisions} | {ties} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
