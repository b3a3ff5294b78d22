"""Forwards that go through the time steps themselves: one step of the network, spike for spike."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from purespike.compiler.ir import ops
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.verify import verify
from purespike.judge.capture_check import check_capture
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.trace import CaptureError, capture
from purespike.trainer.errors import ConfigError

snn = pytest.importorskip("snntorch")
sj = pytest.importorskip("spikingjelly.activation_based.neuron")

STEPS, WIDTH = 6, 5


def frames(shape: tuple[int, ...] = (WIDTH,), same: bool = False) -> Tensor:
    r = np.random.default_rng(0)
    x = (r.random((1 if same else STEPS, 4, *shape)) < 0.5).astype(np.float64)
    return torch.tensor(np.repeat(x, STEPS, 0) if same else x)


class Net(nn.Module):
    """Two layers of any neuron; each case below is one way to write the loop."""

    def __init__(self, make: Any = lambda: snn.Leaky(0.75, threshold=0.7)) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.fc1, self.lif1 = nn.Linear(WIDTH, 8), make()
        self.fc2, self.lif2 = nn.Linear(8, WIDTH), make()
        self.num_steps = STEPS
        for layer in (self.fc1, self.fc2):
            nn.init.normal_(layer.weight, 0.1, 0.6)
            nn.init.constant_(layer.bias, 0.1)


class Tutorial(Net):
    """snnTorch's tutorial 5: one frame, zeros from init_leaky, lists of spikes and membranes."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spk2_rec, mem2_rec = [], []
        for _ in range(self.num_steps):
            cur1 = self.fc1(x)
            spk1, mem1 = self.lif1(cur1, mem1)
            cur2 = self.fc2(spk1)
            spk2, mem2 = self.lif2(cur2, mem2)
            spk2_rec.append(spk2)
            mem2_rec.append(mem2)
        return torch.stack(spk2_rec, dim=0), torch.stack(mem2_rec, dim=0)


class Spatiotemporal(Net):
    """As the tutorials on event data have it: x[step], the length read from the data."""

    def forward(self, x: Tensor) -> Tensor:
        mem1 = torch.zeros(x.size(1), 8, device=x.device)
        mem2 = self.lif2.reset_mem()
        spikes = []
        for step in range(x.size(0)):
            spk1, mem1 = self.lif1(self.fc1(x[step, :, :].flatten(1)), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
        return torch.stack(spikes)


class Iterated(Net):
    """``for xt in x``, states kept by the neurons, truncated gradients, a mean over the steps."""

    def forward(self, x: Tensor) -> Tensor:
        made = []
        for xt in x:
            spk1, _ = self.lif1(self.fc1(xt))
            spk2, mem2 = self.lif2(self.fc2(spk1))
            mem2.detach()
            made += [spk2]
        return torch.stack(made).mean(0)


class Listed(Net):
    """A list of the steps' spikes, samples first inside."""

    def forward(self, x: Tensor) -> list[Tensor]:
        x = x.transpose(0, 1)
        batch, steps, *_ = x.shape
        made = []
        for t in range(steps):
            spk1, _ = self.lif1(self.fc1(x[:, t].reshape(batch, -1)))
            made.append(self.lif2(self.fc2(spk1))[0])
        return made


class OneStep(Net):
    """``forward(x, *states)``, as it is exported to ONNX."""

    def forward(self, x: Tensor, mem1: Tensor, mem2: Tensor) -> tuple[Tensor, ...]:
        spk1, mem1 = self.lif1(self.fc1(x), mem1)
        spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
        return spk2, mem1, mem2


class Gated(Net):
    """A gate and a sum inside the loop."""

    def forward(self, x: Tensor) -> Tensor:
        made = []
        for xt in x:
            spk1, _ = self.lif1(self.fc1(xt))
            spk2, _ = self.lif2(self.fc2(spk1) + 0.5 * xt)
            made.append(torch.maximum(spk2, xt * (1 - spk2)))
        return torch.stack(made)


class Synaptic(Net):
    """Two states a neuron."""

    def __init__(self) -> None:
        super().__init__(lambda: snn.Synaptic(0.5, 0.75, threshold=0.9))

    def forward(self, x: Tensor) -> Tensor:
        syn1, mem1 = self.lif1.init_synaptic()
        syn2, mem2 = self.lif2.init_synaptic()
        made = []
        for xt in x:
            spk1, syn1, mem1 = self.lif1(self.fc1(xt), syn1, mem1)
            spk2, syn2, mem2 = self.lif2(self.fc2(spk1), syn2, mem2)
            made.append(spk2)
        return torch.stack(made)


class Jelly(Net):
    """SpikingJelly's neurons in step_mode 's' in a loop of the model's own."""

    def __init__(self) -> None:
        super().__init__(lambda: sj.LIFNode(tau=2.0, v_threshold=0.4))

    def forward(self, x: Tensor) -> Tensor:
        made = [self.lif2(self.fc2(self.lif1(self.fc1(x[t])))) for t in range(len(x))]
        return torch.stack(made)


class Repeated(Net):
    """SpikingJelly's step_mode 'm' on a frame that the forward repeats."""

    def __init__(self) -> None:
        super().__init__(lambda: sj.IFNode(v_threshold=0.6, step_mode="m"))

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        x_seq = x.unsqueeze(0).repeat(self.num_steps, 1, 1)
        return self.lif2(self.fc2(self.lif1(x_seq))).mean(0)


class ResetFirst(Net):
    """SpikingJelly's step_mode 'm', with the reset at the beginning of the forward."""

    def __init__(self) -> None:
        super().__init__(lambda: sj.IFNode(v_threshold=0.6, step_mode="m"))

    def forward(self, x: Tensor) -> Tensor:
        self.lif1.reset()
        self.lif2.reset()
        return self.lif2(self.fc2(self.lif1(self.fc1(x))))


CASES: list[tuple[Any, str | None]] = [
    (Tutorial, "frame"),
    (Spatiotemporal, "sequence"),
    (Iterated, "sequence"),
    (Listed, "sequence"),
    (OneStep, None),
    (Gated, "sequence"),
    (Synaptic, "sequence"),
    (Jelly, "sequence"),
    (Repeated, "frame"),
    (ResetFirst, None),
]


def assert_same(net: nn.Module, takes: Any, x: Tensor) -> Graph:
    """Each layer's spikes and the output, in float64; and once more through PS010's check."""
    model = Imported(net.double().eval(), takes)
    graph = capture(model, tuple(x.shape[2:]), len(x)).graph
    verify(graph)
    trace = run(graph, x.numpy())
    seen: dict[str, list[Tensor]] = {}

    def note(name: str) -> Any:
        return lambda m, i, o: seen.setdefault(name, []).append(o[0] if isinstance(o, tuple) else o)

    for name, module in model.named_modules():
        if isinstance(module, snn.SpikingNeuron | sj.BaseNode):
            module.register_forward_hook(note(name))
    with torch.no_grad():
        result = model(x)
    for part in model.modules():
        part._forward_hooks.clear()
    firing = {n.name for n in graph.nodes if isinstance(n.op, ops.Neuron)}
    assert firing == set(seen) and firing
    for name, rows in seen.items():
        spikes = torch.stack(rows) if len(rows) > 1 else rows[0]
        np.testing.assert_array_equal(trace.values[name], spikes.numpy(), err_msg=name)
        assert 0 < float(spikes.mean()) < 1
    made = trace.values[graph.outputs[0]]
    made = made if made.ndim == result.ndim else made[-1]
    np.testing.assert_allclose(made, result.numpy(), rtol=0, atol=1e-12)
    finding, layers = check_capture(model, graph, x.numpy())
    assert finding.status == "PASS" and {m.layer for m in layers} == firing
    assert not any(m.different for m in layers)
    return graph


@pytest.mark.parametrize(("kind", "takes"), CASES, ids=[k.__name__ for k, _ in CASES])
def test_loops(kind: Any, takes: str | None) -> None:
    graph = assert_same(kind(), takes, frames(same=takes == "frame"))
    linear = [n.name for n in graph.nodes if isinstance(n.op, ops.Linear)]
    assert linear == ["model.fc1", "model.fc2"]  # once, however many steps there are


def test_a_loop_is_the_network_without_it() -> None:
    loop = capture(Imported(Iterated(), "sequence"), (WIDTH,), STEPS).graph
    net = Net()
    plain = nn.Sequential(net.fc1, net.lif1, net.fc2, net.lif2)
    for m in (net.lif1, net.lif2):
        m.init_hidden = True
    step = capture(Imported(plain), (WIDTH,), STEPS).graph
    kinds = [[(type(n.op).__name__, n.op.details()) for n in g.nodes] for g in (loop, step)]
    assert kinds[0][:-1] == kinds[1] and kinds[0][-1][0] == "TimeMean"


def body(forward: Any, make: Any = None) -> nn.Module:
    class Case(Net):
        def forward(self, x: Tensor) -> Any:
            return forward(self, x)

    return Case() if make is None else Case(make)


def other_state(self: Any, x: Tensor) -> Tensor:
    mem1 = self.lif1.init_leaky()
    made = []
    for xt in x:
        s, mem1 = self.lif1(self.fc1(xt), mem1)
        s, _ = self.lif2(self.fc2(s), mem1)
        made.append(s)
    return torch.stack(made)


def stale_state(self: Any, x: Tensor) -> Tensor:
    mem = self.lif1.init_leaky()
    return torch.stack([self.lif1(self.fc1(xt), mem)[0] for xt in x])


def anew(self: Any, x: Tensor) -> Tensor:
    made = []
    for xt in x:
        self.lif1.reset_mem()
        made.append(self.lif1(self.fc1(xt))[0])
    return torch.stack(made)


def ones(self: Any, x: Tensor) -> Tensor:
    mem = torch.ones(x.size(1), 8)
    made = []
    for xt in x:
        s, mem = self.lif1(self.fc1(xt), mem)
        made.append(s)
    return torch.stack(made)


def skips(self: Any, x: Tensor) -> Tensor:
    return torch.stack([self.lif1(self.fc1(xt))[0] for xt in x[1:]])


def short(self: Any, x: Tensor) -> Tensor:
    return torch.stack([self.lif1(self.fc1(x[t]))[0] for t in range(4)])


def backwards(self: Any, x: Tensor) -> Tensor:
    return torch.stack([self.lif1(self.fc1(x[-1 - t]))[0] for t in range(STEPS)])


def differs(self: Any, x: Tensor) -> Tensor:
    made = []
    for t in range(STEPS):
        s = self.lif1(self.fc1(x[t]))[0]
        made.append(self.lif2(self.fc2(s) if t < 3 else self.fc2(2 * s))[0])
    return torch.stack(made)


def mixes(self: Any, x: Tensor) -> Tensor:
    made = [self.lif1(self.fc1(xt))[0] for xt in x]
    return torch.stack([a + b for a, b in pairwise(made)])


def shuffled(self: Any, x: Tensor) -> Tensor:
    return torch.stack([self.lif1(self.fc1(xt))[0] for xt in x][::-1])


def last_only(self: Any, x: Tensor) -> Tensor:
    for xt in x:
        s = self.lif1(self.fc1(xt))[0]
    return s


def in_every_step(self: Any, x: Tensor) -> Tensor:
    mem = self.lif1.init_leaky()
    s, mem = self.lif1(self.fc1(x), mem)
    return s


def zeros_in_every_step(self: Any, x: Tensor) -> Tensor:
    return self.lif1(self.fc1(x), torch.zeros(x.size(0), 8))[0]


def swapped(self: Any, x: Tensor, mem1: Any, mem2: Any) -> Any:
    s, mem1 = self.lif1(self.fc1(x), mem1)
    s, mem2 = self.lif2(self.fc2(s), mem2)
    return s, mem2, mem1


REFUSED = [
    (other_state, "sequence", "does not go on from where it was", "the state of model.lif1"),
    (stale_state, "sequence", "does not go on from where it was", "zeros"),
    (anew, "sequence", "to rest between two steps", ""),
    (ones, "sequence", "does not go on from where it was", "other numbers"),
    (skips, "sequence", "no operation for getitem", "slice"),
    (short, "sequence", "not every step", "steps"),
    (backwards, "sequence", "the steps of the forward's loop differ", "step 5"),
    (differs, "sequence", "the steps of the forward's loop differ", "step 3"),
    (mixes, "sequence", "tensors of different steps meet", "step 0 and step 1"),
    (shuffled, "sequence", "not every step", "steps"),
    (last_only, "sequence", "neither a sequence nor a mean", "step 5"),
    (in_every_step, None, "to rest in every step", ""),
    (zeros_in_every_step, None, "nothing is remembered", "zeros"),
]


@pytest.mark.parametrize(("forward", "takes", "message", "found"), REFUSED)
def test_refused(forward: Any, takes: Any, message: str, found: str) -> None:
    with pytest.raises(CaptureError, match=message) as e:
        capture(Imported(body(forward), takes), (WIDTH,), STEPS)
    assert found in e.value.found and e.value.where.startswith("model")


def test_refused_states_in_another_order() -> None:
    class Swapped(Net):
        forward = swapped

    with pytest.raises(CaptureError, match="does not come back") as e:
        capture(Imported(Swapped()), (WIDTH,), STEPS)
    assert "model.lif1" in e.value.found


def test_a_frame_that_changes_is_no_frame() -> None:
    with pytest.raises(ConfigError, match="these differ"):
        Imported(Tutorial().double(), "frame")(frames())


def test_refused_word() -> None:
    with pytest.raises(ConfigError, match="a step, a sequence or a frame"):
        Imported(Net(), "loop")  # type: ignore[arg-type]


def test_other_arguments_need_defaults() -> None:
    """``forward(x, num_steps)`` is refused by name; the remedy is a default."""

    class Needed(Net):
        def forward(self, x: Tensor, num_steps: int) -> Tensor:
            return torch.stack([self.lif1(self.fc1(x))[0] for _ in range(num_steps)])

    class Default(Net):
        def forward(self, x: Tensor, num_steps: int = STEPS) -> Tensor:
            spikes = [self.lif1(self.fc1(x))[0] for _ in range(num_steps)]
            return torch.stack([self.lif2(self.fc2(s))[0] for s in spikes])

    with pytest.raises(ConfigError, match="takes nothing else") as e:
        Imported(Needed(), "frame")
    assert "num_steps" in e.value.found and "default" in e.value.remedy
    assert_same(Default(), "frame", frames(same=True))


def test_a_mean_of_the_model_is_the_only_one() -> None:
    """What is loaded by its path and averages over time itself is not averaged once more."""
    from purespike.compiler.ir.domain import SPIKE
    from purespike.trainer.capture.readout import averaged, on_sequences

    made = Imported(Iterated(), "sequence")
    assert on_sequences(made, (WIDTH,), STEPS, SPIKE) is made

    class Mean(Net):
        def __init__(self) -> None:
            super().__init__(lambda: sj.IFNode(v_threshold=0.6, step_mode="m"))

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.lif1(self.fc1(x))).mean(0)

    wrapped = on_sequences(Mean(), (WIDTH,), STEPS, SPIKE)
    assert isinstance(wrapped, Imported)
    graph = averaged(capture(wrapped, (WIDTH,), STEPS).graph)
    assert sum(isinstance(n.op, ops.TimeMean) for n in graph.nodes) == 1
