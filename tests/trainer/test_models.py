from dataclasses import replace

import pytest
import torch
from torch import Tensor, fx, nn

from purespike.trainer.errors import ConfigError, ShapeError
from purespike.trainer.networks.blocks import ResidualBlock
from purespike.trainer.networks.catalogue import network_config
from purespike.trainer.networks.configuration import ModelConfig, NeuronConfig
from purespike.trainer.networks.models import build, main_only, without_paths
from purespike.trainer.nn.auxiliary import (
    AapDownsample,
    Accumulate,
    ShortcutBranch,
    auxiliary_modules,
    is_auxiliary,
)
from purespike.trainer.nn.gates import GATES
from purespike.trainer.nn.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    MaxPool2d,
    ThresholdBatchNorm2d,
    TimeMean,
)
from purespike.trainer.nn.neuron import Neuron

KINDS = (*GATES, "sn")
CONFIG = ModelConfig(5, 10, stem=6, widths=(6, 8, 8), strides=(1, 2, 1))


def spikes(*shape: int, seed: int = 0) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


@pytest.mark.parametrize(
    ("mine", "torchs"),
    [
        (Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d),
        (BatchNorm2d(3).eval(), nn.BatchNorm2d),
        (AvgPool2d(2), nn.AvgPool2d),
        (MaxPool2d(2), nn.MaxPool2d),
        (GlobalAvgPool2d(), nn.AdaptiveAvgPool2d),
    ],
)
def test_layers_do_at_each_step_what_torch_does(mine, torchs):
    assert isinstance(mine, torchs)
    x = torch.randn(4, 2, 3, 8, 8)
    stepwise = torch.stack([torchs.forward(mine, step) for step in x])
    torch.testing.assert_close(mine(x), stepwise, rtol=1e-5, atol=1e-6)
    with pytest.raises(ShapeError, match="sequence of images"):
        mine(x[0])


def test_batch_norm_shares_its_statistics_over_time():
    x = torch.randn(4, 2, 3, 8, 8) * torch.arange(1, 5).view(4, 1, 1, 1, 1)
    out = BatchNorm2d(3)(x)
    assert out.mean((0, 1, 3, 4)).abs().max() < 1e-5
    assert (out.var((0, 1, 3, 4), unbiased=False) - 1).abs().max() < 1e-3


@pytest.mark.parametrize("terms", [1, 2])
def test_threshold_batch_norm_against_its_formula(terms):
    norm = ThresholdBatchNorm2d(3, threshold=0.5, terms=terms).double()
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    nn.init.normal_(norm.bias)
    x = torch.randn(4, 2, 3, 5, 5, dtype=torch.float64) * 3 + 1
    by_channel = x.transpose(0, 2).flatten(1)
    mean, var = by_channel.mean(1), by_channel.var(1, unbiased=False)

    def expected(mean: Tensor, var: Tensor) -> Tensor:
        shape = (3, 1, 1)
        normal = (x - mean.view(shape)) / (var.view(shape) + norm.eps).sqrt()
        scale = 0.5 / terms**0.5
        return norm.weight.view(shape) * scale * normal + norm.bias.view(shape)

    torch.testing.assert_close(norm(x), expected(mean, var), rtol=1e-10, atol=1e-10)
    unbiased = by_channel.var(1)
    torch.testing.assert_close(norm.running_mean, 0.1 * mean)
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * unbiased)
    norm.eval()
    out = expected(norm.running_mean, norm.running_var)
    torch.testing.assert_close(norm(x), out, rtol=1e-10, atol=1e-10)


def test_head_layers():
    x = torch.randn(4, 2, 3, 1, 1)
    assert Flatten()(x).shape == (4, 2, 3)
    assert torch.equal(TimeMean()(x), x.mean(0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("auxiliary", [(False, False), (True, False), (False, True), (True, True)])
def test_auxiliary_paths_do_not_touch_the_main_logits(kind, auxiliary):
    aap, shortcut = auxiliary
    config = replace(CONFIG, gate=kind, aap=aap, shortcut=shortcut)
    plain = replace(CONFIG, gate=kind, aap=False, shortcut=False)
    x = spikes(4, 3, 5, 8, 8)
    full, bare = build(config, 7), build(plain, 7)
    out = full(x)
    assert set(out) == {"main"} | ({"aap"} if aap else set()) | (
        {"shortcut.0", "shortcut.1"} if shortcut else set()
    )
    assert all(logits.shape == (3, 10) for logits in out.values())
    assert torch.equal(out["main"], bare(x)["main"])
    assert torch.equal(full.eval()(x)["main"], bare.eval()(x)["main"])
    assert torch.equal(main_only(full)(x)["main"], full(x)["main"])


def test_what_is_marked_as_training_only():
    model = build(replace(CONFIG, widths=(6, 8), strides=(1, 2), aap_own_classifier=True), 0)
    parameters = {name.rpartition(".")[0] for name, _ in model.named_parameters()}
    assert parameters & auxiliary_modules(model) == {
        "aap_fc",
        "branches.0.3",
        *(f"blocks.1.aap_down.{i}" for i in range(3)),
    }
    bare = build(replace(CONFIG, aap=False, shortcut=False), 0)
    assert auxiliary_modules(bare) == set()
    assert set(main_only(model).state_dict()) == {
        name for name in model.state_dict() if not any(word in name for word in ("aap", "branches"))
    }


def test_options_of_paths_leave_with_the_paths():
    """A description that keeps them without their path is refused."""
    config = network_config(
        "cifar-resnet-20", aap=True, aap_own_classifier=True, shortcut=True, shortcut_at="stage"
    )
    assert without_paths(config) == network_config("cifar-resnet-20")
    deployed = replace(config, dsnn=True)
    kept = without_paths(deployed, dsnn=True)
    assert kept == replace(deployed, shortcut=False, shortcut_at="block")
    assert without_paths(deployed) == network_config("cifar-resnet-20")


def test_own_classifier_of_the_pathway():
    x = spikes(4, 3, 5, 8, 8)
    shared, own = build(CONFIG, 0), build(replace(CONFIG, aap_own_classifier=True), 0)
    assert torch.equal(shared(x)["main"], own(x)["main"])
    assert not torch.equal(shared(x)["aap"], own(x)["aap"])
    assert not hasattr(shared, "aap_fc")


@pytest.mark.parametrize("kind", ["or", "iand", "xor", "sn"])
def test_a_silent_residual_function_is_the_identity_on_both_streams(kind):
    block = ResidualBlock(4, 4, 1, kind, NeuronConfig(decay=0.5), aap=True)
    nn.init.zeros_(block.bn2.weight)
    s, a = spikes(4, 2, 4, 6, 6), spikes(4, 2, 4, 6, 6, seed=1) * 3
    out, carried = block(s, a)
    assert torch.equal(out, s)
    assert torch.equal(carried, a + s if kind == "sn" else a)


@pytest.mark.parametrize("kind", KINDS)
def test_streams_follow_equations_10_and_11(kind):
    torch.manual_seed(0)
    block = ResidualBlock(4, 6, 2, kind, NeuronConfig(), aap=True).eval()
    for module in block.modules():
        if isinstance(module, BatchNorm2d):
            module.weight.data.uniform_(2, 6)
    s, a = spikes(4, 2, 4, 6, 6), spikes(4, 2, 4, 6, 6, seed=1) * 2
    out, carried = block(s, a)
    f = block.bn2(block.conv2(block.neuron1(block.bn1(block.conv1(s)))))
    identity = block.identity(s)
    if kind == "sn":
        expected = contribution = block.neuron2(f + identity)
    else:
        contribution = block.neuron2(f)
        i, c = identity.bool(), contribution.bool()
        expected = {
            "and": c & i,
            "or": c | i,
            "iand": ~c & i,
            "xor": c ^ i,
            "add": c.int() + i.int(),
        }[kind].float()
    assert contribution.any()
    assert torch.equal(out, expected)
    assert torch.equal(carried, block.aap_down(a) + contribution)
    if kind != "add":
        assert set(out.unique().tolist()) <= {0.0, 1.0}


def test_pathway_of_a_whole_network_is_the_sum_of_the_residual_spikes():
    config = replace(CONFIG, widths=(6, 6), strides=(1, 1), shortcut=False)
    model = build(config, 3).eval()
    seen: dict[str, Tensor] = {}
    for name in ("stem.2", "blocks.0.neuron2", "blocks.1.neuron2"):
        model.get_submodule(name).register_forward_hook(
            lambda module, inputs, out, name=name: seen.__setitem__(name, out)
        )
    logits = model(spikes(4, 3, 5, 8, 8))
    a = sum(seen.values())
    expected = model.fc(a.mean((0, 3, 4)))
    torch.testing.assert_close(logits["aap"], expected, rtol=1e-5, atol=1e-6)


def test_structure_of_the_pathways_downsampling():
    strided = list(AapDownsample(4, 8, 2))
    assert [type(m) for m in strided] == [Conv2d, Conv2d, BatchNorm2d, nn.ReLU]
    depthwise, pointwise = strided[:2]
    assert (depthwise.kernel_size, depthwise.stride, depthwise.groups) == ((3, 3), (2, 2), 4)
    assert (pointwise.kernel_size, pointwise.stride, pointwise.groups) == ((1, 1), (1, 1), 1)
    assert [type(m) for m in AapDownsample(4, 8, 1)] == [Conv2d, BatchNorm2d, nn.ReLU]
    assert is_auxiliary(AapDownsample(4, 8, 2)) and is_auxiliary(Accumulate())
    assert AapDownsample(4, 8, 2)(spikes(2, 3, 4, 8, 8)).shape == (2, 3, 8, 4, 4)


def test_only_blocks_that_reshape_have_projections():
    blocks = build(CONFIG, 0).blocks
    assert [b.identity is None for b in blocks] == [True, False, True]
    assert [b.aap_down is None for b in blocks] == [True, False, True]
    assert any(isinstance(m, Neuron) for m in blocks[1].identity)
    sn = build(replace(CONFIG, gate="sn"), 0).blocks[1]
    assert not any(isinstance(m, Neuron) for m in sn.identity)


def test_a_shortcut_branch_is_the_classifier_on_the_mean_spike():
    branch = ShortcutBranch(3, 10)
    x = spikes(4, 2, 3, 5, 5)
    linear = branch[-1]
    expected = x.mean((0, 3, 4)) @ linear.weight.T + linear.bias
    torch.testing.assert_close(branch(x), expected)
    assert is_auxiliary(branch)


class Leaves(fx.Tracer):
    """As the compiler's capture traces: torch's modules and our own small ones are leaves."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, (nn.Sequential, ResidualBlock))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("full", [True, False])
def test_traces_into_module_calls_only(kind, full):
    model = build(replace(CONFIG, gate=kind, aap=full, shortcut=full), 0).eval()
    graph = Leaves().trace(model)
    assert {node.op for node in graph.nodes} == {"placeholder", "call_module", "output"}
    x = spikes(4, 3, 5, 8, 8)
    traced = fx.GraphModule(model, graph)(x)
    assert {k: v.tolist() for k, v in traced.items()} == {
        k: v.tolist() for k, v in model(x).items()
    }


def test_zero_init_silences_the_residual_functions():
    model = build(replace(CONFIG, zero_init_residual=True), 0)
    model(spikes(4, 3, 5, 8, 8))
    assert all(b.neuron2.firing_rate == 0 for b in model.blocks)


def test_a_seed_fixes_the_weights_and_leaves_torchs_generator_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second, other = build(CONFIG, 1), build(CONFIG, 1), build(CONFIG, 2)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in first.state_dict().items())
    assert not torch.equal(first.fc.weight, other.fc.weight)
    assert not torch.equal(build(CONFIG).fc.weight, build(CONFIG).fc.weight)


@pytest.mark.parametrize(
    "change",
    [
        {"gate": "nor"},
        {"widths": ()},
        {"strides": (1, 2)},
        {"stem": 0},
        {"steps": 0},
        {"classes": 2.5},
        {"widths": (6, True, 8)},
    ],
)
def test_impossible_networks_are_refused(change):
    with pytest.raises(ConfigError, match="ModelConfig"):
        replace(CONFIG, **change)
