"""SpikingJelly's own networks as they come: compiled, or what stands in the way is named."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import numpy as np
import pytest
import torch
from helpers.spikingjelly_networks import (
    BEGIN,
    DOCS,
    END,
    NETWORKS,
    captured,
    made,
    table,
)
from torch import Tensor

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir import ops
from purespike.compiler.ir.interpret import run
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.trace import capture

neuron = pytest.importorskip("spikingjelly.activation_based.neuron")

REFUSED = ("MASNN", "AttMSResNet", "Spikformer", "QKFormer", "MaxFormer", "MaxFormer (cifar)",
           "SpikeDHS", "SNASNet (forward cells)", "SNASNet (backward cells)")  # fmt: skip


@pytest.mark.parametrize(
    ("name", "takes"),
    [*((n, None) for n in NETWORKS if n not in REFUSED), ("MSResNet", "frame")],
)
def test_exact(name: str, takes: Any) -> None:
    """Spikes of every layer, and the output, in float64."""
    model, shape, steps = made(name), NETWORKS[name].shape, NETWORKS[name].steps
    model = Imported(model.model, takes) if takes else model
    r = np.random.default_rng(0)
    x = (r.random((1 if takes == "frame" else steps, 1, *shape)) < 0.4).astype(np.float64)
    x = np.repeat(x, steps // len(x), 0)
    found = capture(model, shape, steps) if takes else captured(name)
    assert not isinstance(found, PurespikeError), found
    graph = found.graph
    trace = run(graph, x)
    seen: dict[str, list[Tensor]] = {}
    for path, module in model.named_modules():
        if isinstance(module, neuron.BaseNode):
            module.register_forward_hook(
                lambda m, i, o, path=path: seen.setdefault(path, []).append(o)
            )
    with torch.no_grad():
        wanted = model(torch.from_numpy(x)).numpy()
    firing = {n.name for n in graph.nodes if isinstance(n.op, ops.Neuron)}
    masks = {name for name in firing if name.endswith(".mask")}
    assert firing - masks == set(seen)
    assert bool(masks) == name.startswith(("QKFormer", "SpikeDriven"))
    made_of = {p: s[0] if len(s) == 1 else torch.stack(s) for p, s in seen.items()}
    assert sum(float(s.sum()) for s in made_of.values()) > 100
    for path, spikes in made_of.items():
        mine = trace.values[path].reshape(spikes.shape)  # heads and tokens are grouped there
        np.testing.assert_array_equal(mine, spikes.numpy(), err_msg=path)
    out = trace.values[graph.outputs[0]]
    np.testing.assert_allclose(out if out.ndim == wanted.ndim else out[-1], wanted, atol=1e-9)


@pytest.mark.parametrize("name", REFUSED)
def test_what_stands_in_the_way_is_named(name: str) -> None:
    found = captured(name)
    assert isinstance(found, PurespikeError) and found.where and found.remedy
    assert len(found.text("Python")) < 1000


def test_the_documentation_has_every_constructor() -> None:
    """Each file of SpikingJelly's models is in the table, and the table is what happens."""
    package = importlib.import_module("spikingjelly.activation_based.model")
    files = {m.name for m in pkgutil.iter_modules(package.__path__)}
    assert files == {n.of for n in NETWORKS.values()}
    written = DOCS.read_text().split(BEGIN)[1].split(END)[0].strip()
    assert written == table(), "run: PYTHONPATH=tests python tests/helpers/spikingjelly_networks.py"
