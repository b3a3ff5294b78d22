"""Residual blocks that are one step of autograd against the same blocks module by module."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from purespike.trainer.networks.blocks import BottleneckBlock, ResidualBlock
from purespike.trainer.networks.configuration import NeuronConfig
from purespike.trainer.nn import block, paths, synapses
from purespike.trainer.nn.block_plan import Plan
from purespike.trainer.nn.choosing import Choice, worth_a_block
from purespike.trainer.nn.kernel import SLOPES
from purespike.trainer.nn.layers import Conv2d
from purespike.trainer.nn.memory import Memory
from purespike.trainer.nn.spiking import spike_kernels

pytestmark = pytest.mark.skipif(
    bool(synapses.available()), reason=f"no kernels here: {synapses.available()}"
)
ADDED = Choice(forward=True, gradient=True, rate=0.3)
LAST = torch.channels_last
SOFT = NeuronConfig(decay=0.5, reset="subtract", threshold=0.5, detach_reset=False)


class Network(nn.Module):
    """A block between a layer before it, which makes its input need a gradient, and a loss."""

    def __init__(self, kind=ResidualBlock, sizes=(8, 8, 1), gate="or", neuron=None, **options):
        super().__init__()
        torch.manual_seed(3)
        neuron = neuron or NeuronConfig()
        options = {"aap": False, **options}
        self.before = nn.Sequential(Conv2d(3, sizes[0], 1), neuron.build())
        self.block = kind(*sizes, gate, neuron, **options)
        for parameter in self.parameters():
            torch.nn.init.normal_(parameter, 0.1, 0.5)

    def forward(self, x):
        s = self.before(x)
        out, a = self.block(s, s)
        torch.manual_seed(5)
        return sum(
            (each * torch.randn(each.shape, dtype=each.dtype)).sum()
            for each in (out, a)
            if each is not None
        )


def images(size=(3, 6, 3, 10, 10), dtype=torch.float32):
    return torch.rand(size, generator=torch.Generator().manual_seed(6), dtype=dtype)


def passed(model, x, *, kernels=True, rate=ADDED):
    """What one training step computes, by name, and the step of autograd that was the block."""
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    model.zero_grad()
    seen = []
    handle = model.block.register_forward_hook(lambda m, i, o: seen.append(o[0].grad_fn))
    with spike_kernels(model, dict.fromkeys(names, rate)) if kernels else nullcontext():
        model(x).backward()
    handle.remove()
    rates = {n: m.firing_rate for n, m in model.named_modules() if hasattr(m, "firing_rate")}
    found = {n: p.grad for n, p in model.named_parameters()} | dict(model.named_buffers()) | rates
    assert None not in found.values()
    return found, type(seen[-1]).__name__.removesuffix("Backward")


def compared(monkeypatch, make, x):
    """A block as a whole is its modules one after the other by kernels, to the bit.

    And those of torch in float64, up to rounding. The input's gradient may have three parts, which
    are added in another order.
    """
    whole, kind = passed(make(), x)
    assert kind == "_Through"
    with monkeypatch.context() as patch:
        patch.setattr(block, "available", lambda: "not now")
        apart, kind = passed(make(), x)
    assert kind == "_Joined"
    for name, wanted in apart.items():
        if name.startswith("block."):
            assert torch.equal(whole[name], wanted), name
        else:
            torch.testing.assert_close(whole[name], wanted, rtol=1e-4, atol=1e-4)
    plainly(make, x)


def plainly(make, x):
    whole, kind = passed(make().double(), x.double())
    assert kind == "_Through"
    plain, _ = passed(make().double(), x.double(), kernels=False)
    for name, wanted in plain.items():
        torch.testing.assert_close(whole[name], wanted, rtol=1e-8, atol=1e-8, msg=name)
    assert all(float(each.abs().sum()) > 0 for name, each in plain.items() if "1.firing" in name)


@pytest.mark.parametrize("gate", ["and", "or", "iand", "xor"])
@pytest.mark.parametrize("sizes", [(8, 8, 1), (12, 20, 1), (5, 9, 2)], ids=str)
@pytest.mark.parametrize("aap", [False, True])
def test_a_block_is_its_modules(monkeypatch, gate, sizes, aap):
    x = images((3, 9, 3, 14, 14))
    compared(
        monkeypatch, lambda: Network(sizes=sizes, gate=gate, aap=aap).to(memory_format=LAST), x
    )


@pytest.mark.parametrize(
    "options",
    [
        *({"neuron": NeuronConfig(surrogate=kind())} for kind in SLOPES),
        {"neuron": SOFT},
        {"neuron": NeuronConfig(decay=0.9, detach_reset=False, input_scale=0.5)},
        {"neuron": SOFT, "threshold_norm": True},
        {"kind": BottleneckBlock, "sizes": (16, 16, 1)},
        {"kind": BottleneckBlock, "sizes": (12, 24, 2), "aap": True},
        {"sizes": (40, 40, 1)},
    ],
    ids=str,
)
def test_a_block_has_the_neurons_and_layers_of_its_modules(monkeypatch, options):
    x = images((2, 14, 3, 12, 12))
    compared(monkeypatch, lambda: Network(**options).to(memory_format=LAST), x)
    plainly(lambda: Network(**options), x)  # weights that lie as torch lays them


def as_modules(x, change, *, kernels=True):
    """What a changed network does with the kernels is what it does without."""
    found = []
    for on in (True, False):
        model = Network()
        change(model)
        found.append(passed(model, x, kernels=on))
    (mine, kind), (plain, _) = found
    for name, wanted in plain.items():
        torch.testing.assert_close(mine[name], wanted, rtol=1e-4, atol=1e-4, msg=name)
    return kind


def hooked(register):
    def change(model):
        getattr(model.block.neuron1, register)(lambda *seen: None)

    return change


@pytest.mark.parametrize(
    "register",
    ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"],
)
def test_what_listens_to_a_module_hears_it(register):
    assert as_modules(images(), hooked(register)) != "_Through"


def test_what_listens_to_all_modules_hears_them():
    heard = []
    handle = register_module_forward_hook(lambda module, *_: heard.append(type(module).__name__))
    try:
        _, kind = passed(Network(), images())
    finally:
        handle.remove()
    assert kind != "_Through" and heard.count("Neuron") == 3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["conv1", "conv2"])
def test_weights_that_are_not_finite_show(bad, name):
    found = []
    for on in (True, False):
        model = Network()
        with torch.no_grad():
            model.block.get_submodule(name).weight[1, 2, 0, 1] = bad
        found.append(passed(model, images(), kernels=on))
    assert found[0][1] != "_Through"
    for k in ("1", "2"):
        mine, plain = (each[f"block.bn{k}.running_mean"] for each, _ in found)
        torch.testing.assert_close(mine, plain, equal_nan=True)
        assert found[0][0][f"block.bn{k}.num_batches_tracked"] == 1
    assert not found[0][0][f"block.bn{name[-1]}.running_mean"].isfinite().all()


def frozen(model):
    model.block.bn1.eval()


def mixed(model):
    model.block.conv1.double()
    model.block.conv1.float()
    model.block.conv2.weight = nn.Parameter(model.block.conv2.weight.clone().transpose(2, 3))


def test_a_normalization_that_does_not_train_is_left_alone():
    assert as_modules(images(), frozen) != "_Through"
    assert as_modules(images(), mixed) != "_Through"  # weights that lie in neither format


def test_a_class_made_of_a_block_is_another():
    class Louder(ResidualBlock):
        def residual(self, s):
            return 2 * super().residual(s)

    found = [passed(Network(Louder), images(), kernels=on) for on in (True, False)]
    assert found[0][1] != "_Through"
    for name, wanted in found[1][0].items():
        torch.testing.assert_close(found[0][0][name], wanted, rtol=1e-4, atol=1e-4, msg=name)


def test_another_gate_in_its_place_is_heard():
    class Nor(nn.Module):
        def forward(self, a, s):
            return 1 - (a + s - a * s)

    def change(model):
        model.block.gate = Nor()

    assert as_modules(images(), change) != "_Through"


def test_the_first_step_measures_rates_and_the_others_are_whole():
    model, x = Network(), images()
    with spike_kernels(model) as kernels:
        kinds = []
        model.block.register_forward_hook(lambda m, i, o: kinds.append(type(o[0].grad_fn).__name__))
        for _ in range(3):
            model(x).backward()
        chosen = dict(kernels.choices)
        assert kinds == ["SubBackward0", *["_ThroughBackward"] * 2]
        assert all(chosen[n].forward and chosen[n].gradient for n in ("block.conv1", "block.conv2"))
        with torch.no_grad():
            model(x)
        model.eval()(x)
        assert kernels.choices == chosen and len(kinds) == 5
    resumed = Network()
    with spike_kernels(resumed, chosen):
        resumed.block.register_forward_hook(
            lambda m, i, o: kinds.append(type(o[0].grad_fn).__name__)
        )
        resumed(x)
    assert kinds[-1] == "_ThroughBackward"


def test_a_block_that_would_be_slower_stays_apart():
    dense = [
        ((256, 64, 32, 32), (64, 64, 3, 3), ((1, 1), (1, 1), (1, 1)), rate) for rate in (0.1, 1)
    ]
    assert worth_a_block(dense[:1]) and not worth_a_block(dense)
    _, kind = passed(Network(sizes=(64, 64, 1)), images((2, 64, 3, 24, 24)), rate=ADDED)
    assert kind == "_Through"
    full = Choice(forward=True, gradient=False, rate=1.0)
    model = Network(sizes=(64, 64, 1))
    _, kind = passed(model, images((2, 64, 3, 24, 24)), rate=full)
    assert kind != "_Through"


def test_graphs_that_are_alive_together_do_not_share_memory():
    model, x = Network(), images()
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    with spike_kernels(model, dict.fromkeys(names, ADDED)):
        parameters = list(model.parameters())
        alone = [torch.autograd.grad(model(x * f), parameters) for f in (1, 2)]
        together = [model(x * f) for f in (1, 2)]
        second, first = (torch.autograd.grad(each, parameters) for each in reversed(together))
        kept = model(x)
        again = [torch.autograd.grad(kept, parameters, retain_graph=True) for _ in range(2)]
        for found, wanted in (
            (first, alone[0]),
            (second, alone[1]),
            *((g, alone[0]) for g in again),
        ):
            assert all(torch.equal(a, b) for a, b in zip(found, wanted, strict=True))
        loss = model(x)
        with torch.no_grad():
            model.block.conv2.weight.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_only_what_is_read_of_a_block_has_a_gradient():
    for which in (0, 1):
        found = []
        for on in (True, False):
            model = Network(aap=True).double()
            names = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
            s = model.before(images(dtype=torch.float64))
            if on:
                with spike_kernels(model, dict.fromkeys(names, ADDED)):
                    out = model.block(s, s.detach())
            else:
                out = model.block(s, s.detach())
            out[which].sum().backward()
            found.append([p.grad for p in model.parameters()])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_copies_are_plain_and_an_input_without_gradient_is_taken():
    model = Network()
    spikes = (images((3, 6, 8, 10, 10)) < 0.3).float()
    names = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    with spike_kernels(model, dict.fromkeys(names, ADDED)):
        out, _ = model.block(spikes)
        assert type(out.grad_fn).__name__ == "_ThroughBackward"
        out.sum().backward()
        other, _ = model.block(spikes * 0.5)  # no spikes: the modules take them
        assert type(other.grad_fn).__name__ != "_ThroughBackward"
        twin = copy.deepcopy(model)
    assert type(twin.block) is ResidualBlock and "_spiking" not in vars(twin.block)
    assert model.block.conv1.weight.grad.abs().sum() > 0


def test_memory_is_used_again_when_nothing_holds_it():
    memory = Memory()

    def take(count):
        return memory.take((count,), (1,))

    first = take(1000)
    place = first.data_ptr()
    assert take(1000).data_ptr() != place
    view = first.view(torch.float32)
    del first
    assert take(10).data_ptr() != place  # of the other
    held = [take(1000), take(1000)]
    assert place not in [each.data_ptr() for each in held]
    del view
    assert take(1000).data_ptr() == place
    assert take(5000).numel() == 5000
    laid = memory.take((2, 3, 4), (12, 1, 3), torch.float64)
    assert laid.dtype == torch.float64 and laid.stride() == (12, 1, 3)


def test_a_tensor_subclass_is_left_to_its_class():
    class Mine(torch.Tensor):
        pass

    assert not paths.usable(torch.zeros(2, 2, 2, 2, 2).as_subclass(Mine))


def test_a_path_that_the_kernels_have_no_room_for_is_not_planned():
    numbers = (True, True, 1, 1e-5, 0.1, 1.0, 1.0, 1.0, 1.0, 3.0, 1.0)
    unit = (torch.Size((8, 8, 3, 3)), False, ((1, 1), (1, 1), (1, 1)), numbers)
    size = torch.Size((2, 8, 8, 10, 10))
    for residual, possible in ((1, True), (3, True), (4, False), (0, False)):
        plan = Plan(size, torch.float32, [unit] * residual, residual, "or")
        assert plan.possible is possible
