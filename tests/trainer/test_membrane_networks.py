"""Networks of membrane shortcuts and masks: against SpikingJelly's, and compiled to spikes only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.network_cases import STEPS, run_torch, small, spikes
from torch import Tensor, nn

import purespike as ps
from purespike.compiler.ir.graph import IRError
from purespike.compiler.ir.interpret import run
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.compiler.proofs.counts import dense_counts
from purespike.compiler.proofs.currents import find_currents
from purespike.trainer.capture.trace import capture
from purespike.trainer.nn.attention import HeadSum, Mask, TokenSum
from purespike.trainer.nn.layers import Flatten, TimeMean
from purespike.trainer.nn.levels import LevelActivation
from purespike.trainer.nn.neuron import IF

models = pytest.importorskip("spikingjelly.activation_based.model")
from spikingjelly.activation_based import functional, neuron  # noqa: E402
from spikingjelly.activation_based.model import (  # noqa: E402
    ms_resnet,
    spike_driven_transformer,
)

SIZE = 16


def spikingjellys(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """Theirs, narrow, and the options of ours that make the same network."""
    if name == "spike-driven-2-256":
        theirs = spike_driven_transformer.SpikeDrivenTransformer(
            T=STEPS, in_channels=2, num_classes=5, embed_dims=16, depths=2, pooling_stat="0110"
        )
        for stage in (*theirs.patch_embed.stages, theirs.patch_embed.final_stage):
            stage[0].bias = None
        return theirs, {"width": 1 / 16}
    theirs = ms_resnet.MSResNet(T=STEPS, in_channels=2, num_classes=5, base_channels=4)
    return theirs, {"width": 1 / 16, "zero_init_residual": False}


@pytest.mark.parametrize("name", ["ms-resnet-18", "spike-driven-2-256"])
def test_spikes_are_those_of_spikingjelly(name: str) -> None:
    """Weight by weight in the order of the layers; every neuron, at every step."""
    theirs, options = spikingjellys(name)
    ours = small(name, SIZE, **options)
    layers = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
    mine = [m for m in ours.modules() if isinstance(m, layers)]
    other = [m for m in theirs.modules() if isinstance(m, layers)]
    assert len(mine) == len(other)
    for a, b in zip(mine, other, strict=True):
        b.load_state_dict(a.state_dict())
    theirs = theirs.double().eval()
    seen: list[Tensor] = []
    for m in theirs.modules():
        if isinstance(m, neuron.BaseNode):
            m.register_forward_hook(lambda m, i, o: seen.append(o))
    x = spikes(SIZE)
    found, logits = run_torch(ours, x)
    with torch.no_grad():
        expected = theirs(x)
    functional.reset_net(theirs)
    assert len(seen) == len(found) and all(0 < s.mean() < 1 for s in seen[:-1])
    for mine_, spikes_ in zip(found.values(), seen, strict=True):
        assert torch.equal(mine_.flatten(), spikes_.flatten())
    assert torch.allclose(logits["main"], expected, rtol=0, atol=1e-9)


IF_NEURON = {"decay": 1.0, "input_scale": 1.0}
# At random weights a network decides nothing; compiled they are, and all executors agree.
SMALL: dict[str, tuple[int, dict[str, Any]]] = {
    "ms-resnet-18": (32, {"width": 1 / 32, "zero_init_residual": False, "neuron": IF_NEURON}),
    "spike-driven-2-256": (8, {"width": 1 / 32, "neuron": IF_NEURON}),
    "qkformer-4-384": (8, {"width": 1 / 12, "neuron": IF_NEURON}),
    "ilif-resnet-18": (16, {"width": 1 / 32, "steps": 1}),
}


QUICK = "spike-driven-2-256"


def build_of(name: str, lava: str) -> ps.Build:
    size, options = SMALL[name]
    model = small(name, size, **options).float()
    rng = np.random.default_rng(0)
    x = (rng.random((model.config.steps, 12, 2, size, size)) < 0.4).astype(np.float32)
    labels = model(torch.from_numpy(x))["main"].argmax(-1).numpy()
    return ps.compile(
        model,
        ps.Samples(x, labels),
        golden=4,
        lava=lava,  # type: ignore[arg-type]
        lava_samples=2,
    )


def wrong(build: ps.Build) -> list[Any]:
    """What fails besides the accuracy of random weights."""
    return [f for f in build.findings if f.status == "FAIL" and f.rule.id != "PS012"]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n == QUICK else pytest.mark.slow) for n in SMALL]
)
def test_compiled_to_spikes_only(name: str, tmp_path: Path) -> None:
    """Interpreter, cpu, ONNX Runtime and the NIR file read back: every spike and membrane."""
    build = build_of(name, "none")
    assert not wrong(build)
    executors = {f.where.partition(":")[0] for f in build.findings if f.rule.id == "PS010"}
    assert executors >= {"cpu", "ONNX Runtime", "NIR, read back", "torch"}
    if name != QUICK:
        build.save(tmp_path / "bundle")
        checked = ps.open_bundle(tmp_path / "bundle").verify()
        assert not [f for f in checked.findings if f.status == "FAIL"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SMALL)
def test_lava_runs_them(name: str) -> None:
    build = build_of(name, "fast")
    assert not wrong(build)
    [found] = [f for f in build.findings if f.rule.id == "PS010" and f.where.startswith("Lava")][:1]
    assert found.status == "PASS"


def test_depth_is_paid_for_by_copies() -> None:
    """Each layer that reads the running sum has the synapses of all before; the census says so."""
    model = small("ms-resnet-18", 64, width=1 / 32, zero_init_residual=False)
    graph = capture(model, (2, 64, 64), STEPS).graph
    done = compile_graph(graph, standard_pipeline(), spikes(64).numpy()).graph
    currents = find_currents(done)
    readers = [f"blocks.{k}.neuron{1 if k < 8 else ''}" for k in range(9)]
    assert [len(currents.feeds[name]) for name in readers] == list(range(1, 10))
    # 45 arrays for the stream, where the network has 9 layers on it; 9 more are inside the blocks.
    assert sum(currents.arrays.values()) == 45 + 8 + 1
    # layer2: 3x3 windows of 2 channels on 16 x 16 places, 46 rows of taps on the map; 2 copies.
    [layer] = [n for n in done.nodes if n.name == "blocks.0.layer2.0"]
    assert currents.arrays["blocks.0.layer2.0"] == 2
    assert dense_counts(done, layer).ac == 2 * 2 * 2 * 46**2


# --- Masks -----------------------------------------------------------------------------------


class Masked(nn.Module):
    """A mask of what is counted, on the input."""

    def __init__(self, count: nn.Module, threshold: float = 3.0) -> None:
        super().__init__()
        self.count, self.neuron = count, IF(threshold=threshold)
        self.mask, self.flat, self.mean = Mask(), Flatten(), TimeMean()
        self.out = nn.Linear(4 * 12, 3, bias=False)

    def forward(self, s: Tensor) -> Tensor:
        y: Tensor = self.mean(self.out(self.flat(self.mask(s, self.neuron(self.count(s))))))
        return y


@pytest.mark.parametrize("count", [TokenSum(), HeadSum(2), HeadSum(1)])
def test_masks_against_loops_and_in_the_graph(count: nn.Module) -> None:
    torch.manual_seed(0)
    s = (torch.rand(3, 2, 4, 3, 4) < 0.4).double()
    total = count(s)
    m = (total >= 2).double()
    masked = Mask()(s, m)
    for t, b, c, i, j in np.ndindex(*s.shape):
        if isinstance(count, TokenSum):
            counted, on = s[t, b, c].sum(), m[t, b, c, 0, 0]
            assert total[t, b, c, 0, 0] == counted
        else:
            head = c // (4 // count.heads)
            rows = slice(head * (4 // count.heads), (head + 1) * (4 // count.heads))
            assert total[t, b, head, i, j] == s[t, b, rows, i, j].sum()
            on = m[t, b, head, i, j]
        assert masked[t, b, c, i, j] == float(bool(s[t, b, c, i, j]) and bool(on))
    assert 0 < masked.mean() < s.mean()
    net = Masked(count, 2.0 if isinstance(count, HeadSum) else 5.0).double().eval()
    graph = lower_gates(capture(net, (4, 3, 4), 3).graph)
    seen: list[Tensor] = []
    net.mask.register_forward_hook(lambda m, i, o: seen.append(o))
    expected = net(s).detach().numpy()
    found = run(graph, s.numpy())
    assert np.array_equal(found.values["mask"], seen[0].numpy()) and 0 < seen[0].mean() < 0.4
    np.testing.assert_allclose(found.values[graph.outputs[0]][-1], expected, atol=1e-12)


def test_gradients_of_a_mask_are_those_of_a_product() -> None:
    s = torch.rand(2, 1, 4, 2, 2, requires_grad=True)
    m = torch.rand(2, 1, 2, 2, 2, requires_grad=True)
    Mask()(s, m).sum().backward()
    assert s.grad is not None and m.grad is not None
    assert torch.allclose(s.grad, m.repeat_interleave(2, 2))
    assert torch.allclose(m.grad, HeadSum(2)(s))


def test_masks_that_do_not_fit_are_refused() -> None:
    class Counted(Masked):
        def __init__(self) -> None:
            super().__init__(HeadSum(2))
            self.neuron = LevelActivation(2)  # type: ignore[assignment]

    with pytest.raises(IRError, match="mask of spikes does not fit") as caught:
        capture(Counted(), (4, 3, 4), 3)
    assert caught.value.where == "mask" and "spiking neuron" in str(caught.value.remedy)
    with pytest.raises(IRError, match="share its channels"):
        capture(Masked(HeadSum(3)), (4, 3, 4), 3)
