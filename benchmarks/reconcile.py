"""Do our columns "as other tools count" say what the tools themselves say?

    python benchmarks/reconcile.py

Two comparisons, in the peers' environment of ``honesty.py``, with the real syops-counter 0.0.5
and NeuroBench 2.3.0: random single layers on inputs of every kind (not only spikes), and
whole spiking networks on which each tool counts by itself, through its own entry point. Weights and
inputs are dyadic, so that the networks make the same spikes everywhere. Exits 1 if a count differs
by more than float32 rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import warnings
from typing import Any

import numpy as np
from honesty import make_environment

LAYERS, NETWORKS, SAMPLES = 400, 12, 6
TOLERANCE = 1e-5  # relative: the tools take the firing rate in float32
KINDS = ("spikes", "silent", "all on", "ternary", "half spikes", "constant 0.3", "one 2", "real")


def values(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Inputs of one kind."""
    on = (rng.random(shape) < rng.uniform(0.05, 0.6)).astype(np.float64)
    return {
        "spikes": lambda: on,
        "silent": lambda: 0 * on,
        "all on": lambda: 0 * on + 1,
        "ternary": lambda: on * rng.choice([-1, 1], shape),
        "half spikes": lambda: on / 2,
        "constant 0.3": lambda: 0 * on + 0.3,
        "one 2": lambda: np.where(np.arange(on.size).reshape(shape) == 0, 2, on),
        "real": lambda: rng.normal(size=shape),
    }[kind]()


def weights(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    """Eighths, a third of them zero."""
    return rng.integers(-6, 9, shape) * (rng.random(shape) < 0.67) / 8


def random_layer(rng: np.random.Generator) -> tuple[Any, tuple[int, ...]]:
    """A convolution or a linear layer of the graph, and the shape of its input."""
    from purespike.compiler.ir.ops import Conv2d, Linear

    if rng.random() < 0.4:
        n, m = (int(k) for k in rng.integers(1, 40, 2))
        return Linear(weights((n, m), rng), _bias(n, rng)), (m,)
    groups = int(rng.choice([1, 1, 2, 3]))
    n, m = (int(k) for k in groups * rng.integers(1, 4, 2))
    kernel, stride, pad = (
        (int(a), int(b)) for a, b in rng.integers((1, 1, 0), (4, 3, 3), (2, 3)).T
    )
    op = Conv2d(weights((n, m // groups, *kernel), rng), _bias(n, rng), stride, pad, groups=groups)
    return op, (m, *(int(k) for k in rng.integers(4, 9, 2)))


def _bias(n: int, rng: np.random.Generator) -> Any:
    return weights((n,), rng) if rng.random() < 0.5 else None


def as_torch(op: Any) -> Any:
    """The same layer in torch."""
    import torch
    from torch import nn

    from purespike.compiler.ir.ops import Linear

    shape = op.weight.shape
    layer: Any
    if isinstance(op, Linear):
        layer = nn.Linear(shape[1], shape[0], bias=op.bias is not None)
    else:
        layer = nn.Conv2d(
            shape[1] * op.groups, shape[0], shape[2:], op.stride, op.padding, groups=op.groups,
            bias=op.bias is not None,
        )  # fmt: skip
    layer.weight.data = torch.from_numpy(op.weight.astype(np.float32))
    if op.bias is not None:
        layer.bias.data = torch.from_numpy(op.bias.astype(np.float32))
    return layer.eval()


def differences(pairs: list[tuple[float, float]]) -> float:
    """The largest relative difference of (ours, theirs)."""
    return max(abs(a - b) / max(abs(a), abs(b), 1.0) for a, b in pairs)


def layers() -> list[dict[str, Any]]:
    """One row a random layer: what it is, and how far each column is from the tool's."""
    import torch
    from neurobench.metrics.utils.layers import single_layer_MACs
    from syops.ops import MODULES_MAPPING

    from purespike.compiler.ir.domain import ANALOG
    from purespike.compiler.ir.graph import Edge, build
    from purespike.compiler.ir.ops import Neuron
    from purespike.compiler.rules.conventions import neurobench_layer, syops_layer

    rows = []
    for seed in range(LAYERS):
        rng = np.random.default_rng(seed)
        op, shape = random_layer(rng)
        kind, steps = KINDS[seed % len(KINDS)], int(rng.integers(1, 4))
        x = values(kind, (steps, SAMPLES, *shape), rng).astype(np.float32)
        nodes = [("layer", op, ("x",)), ("n", Neuron(np.ones(())), ("layer",))]
        node = build((Edge("x", shape, ANALOG),), nodes, ("n",), steps).nodes[0]
        syops, bench = syops_layer(node, x), neurobench_layer(node, x)
        module, count, ac, mac = as_torch(op), np.zeros(4), 0.0, 0.0
        for now in torch.from_numpy(x):
            module.__syops__ = count
            with torch.no_grad():
                MODULES_MAPPING[type(module)](module, (now,), module(now))
                work, spiking = single_layer_MACs(now, module)
            ac, mac = (ac + float(work), mac) if spiking else (ac, mac + float(work))
        rows.append(
            {
                "kind": kind,
                "syops-counter": differences([(syops.ac, count[1]), (syops.mac, count[2])]),
                "NeuroBench": differences([(bench.ac, ac), (bench.mac, mac)]),
            }
        )
    return rows


def network(seed: int) -> dict[str, Any]:
    """A network of three layers: each tool's totals a sample, and ours of the same run."""
    import torch
    from neurobench.hooks.layer import LayerHook
    from neurobench.metrics.workload import SynapticOperations
    from neurobench.models.torch_model import TorchModel
    from spikingjelly.clock_driven.functional import reset_net
    from spikingjelly.clock_driven.neuron import IFNode
    from syops import get_model_complexity_info
    from torch import nn

    from purespike.compiler.ir.domain import SPIKE
    from purespike.compiler.ir.graph import Edge, build
    from purespike.compiler.ir.ops import Conv2d, Flatten, Linear, Neuron
    from purespike.compiler.rules.measure import measure

    rng = np.random.default_rng(1000 + seed)
    steps, size = int(rng.integers(1, 5)), 6
    first = Conv2d(weights((4, 2, 3, 3), rng), _bias(4, rng), padding=(1, 1))
    second = Conv2d(weights((6, 4, 3, 3), rng), _bias(6, rng), stride=(2, 2), padding=(1, 1))
    last = Linear(weights((5, 54), rng), _bias(5, rng))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                as_torch(first), IFNode(), as_torch(second), IFNode(), nn.Flatten(),
                as_torch(last), IFNode(),
            )  # fmt: skip

        def forward(self, x: Any) -> Any:  # (B, T, C, H, W), as both tools want it
            return torch.stack([self.body(x[:, t]) for t in range(x.shape[1])])

    nodes = [
        ("c1", first, ("x",)),
        ("n1", Neuron(np.ones(())), ("c1",)),
        ("c2", second, ("n1",)),
        ("n2", Neuron(np.ones(())), ("c2",)),
        ("flat", Flatten(), ("n2",)),
        ("l3", last, ("flat",)),
        ("n3", Neuron(np.ones(())), ("l3",)),
    ]
    graph = build((Edge("x", (2, size, size), SPIKE),), nodes, ("n3",), steps)
    x = values("spikes", (steps, SAMPLES, 2, size, size), rng)
    ours = measure(graph, x).conventions["total"]
    batch = torch.from_numpy(x.astype(np.float32)).transpose(0, 1)
    net = Net().eval()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        counted, _ = get_model_complexity_info(
            net, (2, size, size), [(batch, None)], as_strings=False, print_per_layer_stat=False
        )
    reset_net(net)
    model = TorchModel(net)
    model.connection_hooks = [LayerHook(layer) for layer in model.connection_layers()]
    with torch.no_grad():
        spikes = model(batch).double().mean().item()
    bench = SynapticOperations()(model, None, (batch, None))
    tools = {
        "syops-counter": (ours["syops-counter 0.0.5"], counted[1], counted[2]),
        "NeuroBench": (ours["NeuroBench"], bench["Effective_ACs"], bench["Effective_MACs"]),
    }
    return {
        "rate": spikes,
        **{
            name: differences([(column["ac"], float(ac)), (column["mac"], float(mac))])
            for name, (column, ac, mac) in tools.items()
        },
        "ac": {name: (column["ac"], float(ac)) for name, (column, ac, _) in tools.items()},
    }


def compare() -> dict[str, Any]:
    """Everything, in the peers' environment."""
    import torch

    torch.set_num_threads(1)
    return {"layers": layers(), "networks": [network(k) for k in range(NETWORKS)]}


def main() -> None:
    """Print the table; exit 1 if a column is not the tool's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", action="store_true", help=argparse.SUPPRESS)
    warnings.simplefilter("ignore")
    if parser.parse_args().peers:
        print(json.dumps(compare()))
        return
    done = subprocess.run([make_environment(), __file__, "--peers"], capture_output=True, text=True)
    if done.returncode:
        print(f"the peers cannot run: {done.stderr.strip().splitlines()[-1]}")
        return
    found = json.loads(done.stdout.splitlines()[-1])
    wrong = 0
    for what, rows in found.items():
        for tool in ("syops-counter", "NeuroBench"):
            off = [r for r in rows if not r[tool] <= TOLERANCE]
            worst = max(r[tool] for r in rows)
            print(
                f"{tool:14s}{len(rows) - len(off)} of {len(rows)} {what} equal, worst {worst:.1e}"
            )
            wrong += len(off)
            for kind in sorted({r.get("kind", "") for r in off}):
                print(f"    differs: {kind or 'network'}")
    rates = [r["rate"] for r in found["networks"]]
    print(f"the networks' outputs fire at {min(rates):.2f} to {max(rates):.2f}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
