"""Pointwise convolutions with a stride: torch's numbers, without torch's fault.

On a processor with AVX2 and without AVX-512, torch 2.13.0 died in
``test_channels_last_reaches_the_neurons_and_changes_rounding_only``: oneDNN's gradient of the
weights of a strided 1x1 convolution of 4 channels, channels-last, wrote behind its buffer. Nothing
here calls that kernel; the tests hold that nothing of ours does.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.ops import Conv2d as Convolution
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.trace import capture
from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build, build_network
from purespike.trainer.nn.layers import Conv1d, Conv2d, Flatten, GlobalAvgPool2d, TimeMean
from purespike.trainer.nn.neuron import IF
from purespike.trainer.nn.pointwise import conv2d, safe_pointwise

CHILD = Path(__file__).parent / "pointwise_child.py"
STRIDED = re.compile(r"backward_weights.*kh1sh(\d+)dh0ph\d+_iw\d+ow\d+kw1sw(\d+)")


def with_avx2(*command: str) -> str:
    """What a child prints whose torch and oneDNN use AVX2 at most, with oneDNN's own log."""
    narrow = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_VERBOSE": "1"}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", *command],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | narrow | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"), reason="needs AVX2"
)
def test_on_a_processor_with_avx2_only_layers_train_and_never_call_the_kernel() -> None:
    printed = with_avx2(str(CHILD))
    assert "isa:Intel AVX2\n" in printed
    assert "WRONG" not in printed and printed.endswith("DONE\n")
    pointwise = [match.groups() for match in STRIDED.finditer(printed)]
    assert len(pointwise) > 20  # the log shows what it is asked about
    assert set(pointwise) == {("1", "1")}


class Backward(TorchDispatchMode):
    """Records kernel and stride of every convolution that has its weights' gradient computed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            kernel, stride = tuple(args[2].shape[2:]), tuple(args[4])
            self.seen.add((kernel, stride * (len(kernel) // len(stride))))
        return func(*args, **(kwargs or {}))


def strides_of_backward(model: nn.Module, x: torch.Tensor) -> set:
    with Backward() as recorded:
        out = model.train()(x)
        sum(v.square().sum() for v in (out.values() if isinstance(out, dict) else [out])).backward()
    return recorded.seen


def strided(seen: set) -> set:
    return {(k, s) for k, s in seen if set(k) == {1} and set(s) != {1}}


def spikes(*shape: int) -> torch.Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.4).float()


def test_the_recorder_sees_the_kernel_that_is_avoided() -> None:
    seen = strides_of_backward(nn.Conv2d(3, 2, 1, stride=2).double(), spikes(1, 3, 4, 4).double())
    assert strided(seen) == {((1, 1), (2, 2))}  # float64: not oneDNN's


@pytest.mark.parametrize(
    "name",
    ["fsnn-18", "fsnn-50", "cifar-resnet-18", "cifar-resnet-20", "7b-net", "spikformer-4-384"],
)
def test_no_network_trains_a_strided_pointwise_convolution(name) -> None:
    model = build_network(name, in_channels=2, classes=3, steps=2, size=32, width=1 / 16)
    seen = strides_of_backward(model, spikes(2, 2, 2, 32, 32))
    assert seen and not strided(seen)


@pytest.mark.parametrize("gate", ["iand", "or", "add"])
def test_no_residual_network_trains_a_strided_pointwise_convolution(gate) -> None:
    config = ModelConfig(2, 3, steps=2, stem=4, widths=(4, 6), strides=(2, 2), gate=gate, aap=True)
    model = build(config, seed=0)
    assert any(m.kernel_size == (1, 1) and m.stride == (2, 2) for m in convolutions(model))
    seen = strides_of_backward(model, spikes(2, 2, 2, 8, 8))
    assert ((1, 1), (1, 1)) in seen and not strided(seen)


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [m for m in model.modules() if isinstance(m, nn.Conv2d)]


def test_nor_does_an_imported_model_however_it_convolves() -> None:
    class Foreign(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 4, 1, stride=2)
            self.second = nn.Conv2d(4, 4, 1, stride=(2, 1), padding=1)
            self.third = nn.Parameter(torch.ones(2, 4, 1, 1))
            self.signal = nn.Conv1d(2, 2, 1, stride=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.second(self.first(x))
            return self.signal(functional.conv2d(x, self.third, stride=2).flatten(2))

    model, x = Foreign().double(), spikes(2, 2, 3, 8, 8).double()
    expected = torch.stack([model(step) for step in x])
    imported = Imported(model)
    assert torch.equal(imported(x), expected)
    seen = strides_of_backward(imported, x)
    assert ((1, 1), (1, 1)) in seen and not strided(seen)


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stride", [2, 3, (1, 2)])
def test_the_numbers_are_those_of_the_plain_convolution(mode, groups, stride) -> None:
    torch.manual_seed(0)
    layer = Conv2d(4, 6, 1, stride, 1, groups=groups, padding_mode=mode).double()
    plain = nn.Conv2d(4, 6, 1, stride, 1, groups=groups, padding_mode=mode).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 4, 7, 8, dtype=torch.float64)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, expected = layer(a), plain(b.flatten(0, 1)).unflatten(0, (2, 3))
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    weights = torch.randn(expected.shape, dtype=torch.float64)
    (out * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.weight.grad, plain.weight.grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.bias.grad, plain.bias.grad, rtol=0, atol=1e-12)


def test_signals_too() -> None:
    torch.manual_seed(0)
    layer, plain = Conv1d(4, 6, 1, 2, 1).double(), nn.Conv1d(4, 6, 1, 2, 1).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 3, 4, 1, 9, dtype=torch.float64)
    expected = plain(x.squeeze(3).flatten(0, 1)).unflatten(0, (2, 3)).unsqueeze(3)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
    assert not strided(strides_of_backward(layer, x))


def test_the_memory_format_stays_both_ways() -> None:
    x = torch.randn(2, 4, 8, 8).to(memory_format=torch.channels_last).requires_grad_()
    seen = []
    x.register_hook(lambda g: seen.append(g.is_contiguous(memory_format=torch.channels_last)))
    out = conv2d(x, torch.randn(6, 4, 1, 1), stride=2)
    out.sum().backward()
    assert out.is_contiguous(memory_format=torch.channels_last) and seen == [True]


def test_larger_kernels_pass_unchanged_and_padding_may_be_a_text() -> None:
    x, weight = torch.randn(2, 4, 8, 8), torch.randn(6, 4, 3, 3)
    with safe_pointwise():
        found = functional.conv2d(x, weight, stride=2, padding=1)
        whole = functional.conv2d(x, weight[..., :1, :1], padding="valid", stride=2)
    assert torch.equal(found, functional.conv2d(x, weight, stride=2, padding=1))
    assert whole.shape == (2, 6, 4, 4)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.reduce = nn.Sequential(Conv2d(2, 4, 1, stride=2), IF())
        self.head = nn.Sequential(GlobalAvgPool2d(), Flatten(), nn.Linear(4, 3), TimeMean())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.reduce(x))


def test_the_graph_and_an_exported_program_show_one_strided_convolution() -> None:
    model = Small().eval()
    assert sorted(model.state_dict()) == [
        "head.2.bias",
        "head.2.weight",
        *sorted(f"reduce.0.{p}" for p in ("bias", "weight")),
    ]
    graph = capture(model, (2, 8, 8), 2).graph
    (node,) = [n for n in graph.nodes if isinstance(n.op, Convolution)]
    assert node.op.stride == (2, 2) and node.op.weight.shape == (4, 2, 1, 1)
    assert graph.inputs[0].domain == SPIKE
    assert np.array_equal(node.op.weight, model.reduce[0].weight.detach().numpy())
    for strict in (True, False):
        layer = model.reduce[0]
        program = torch.export.export(layer, (spikes(2, 1, 2, 8, 8),), strict=strict)
        called = [str(n.target) for n in program.graph.nodes if n.op == "call_function"]
        assert called == ["aten.flatten.using_ints", "aten.conv2d.default", "aten.reshape.default"]
