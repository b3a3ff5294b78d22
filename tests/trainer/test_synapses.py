"""Synapses that add up spikes against dense ones, to the bit where numbers are whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from purespike.trainer.nn import gates, synapses
from purespike.trainer.nn.choosing import choose

pytestmark = pytest.mark.skipif(
    bool(synapses.available()), reason=f"no kernels here: {synapses.available()}"
)
BOTH = True, True
# N, C, height, width, C', kernel, stride, padding, dilation
LAYERS = (
    (3, 16, 9, 8, 16, 3, 1, 1, 1),
    (2, 5, 6, 7, 8, 3, 2, 1, 1),
    (2, 32, 7, 7, 33, 3, 1, 1, 1),
    (2, 40, 5, 11, 70, 3, 1, 0, 1),
    (3, 16, 8, 8, 32, 1, 2, 0, 1),
    (2, 20, 8, 9, 12, 5, 2, 2, 1),
    (2, 12, 9, 9, 9, 3, 1, 2, 2),
    (1, 17, 9, 9, 3, 3, 1, 3, 2),
    (19, 9, 3, 3, 4, (3, 1), (1, 2), (0, 1), 1),
    (1, 100, 1, 37, 10, 1, 1, 0, 1),
    (3, 9, 7, 17, 5, 3, 2, 1, 1),
    # Several tiles and bands, and no whole groups of channels: in the gradient of the weights.
    (2, 20, 33, 35, 40, 3, 1, 1, 1),
    (2, 35, 34, 31, 70, 3, 2, 1, 1),
)


def pair(x):
    return x if isinstance(x, tuple) else (x, x)


def layer(case, dtype, whole=False, rate=0.3):
    n, c, height, width, out, *sizes = case
    kernel, *sizes = (pair(x) for x in sizes)
    generator = torch.Generator().manual_seed(len(str(case)))
    x = (torch.rand(n, c, height, width, generator=generator) < rate).to(dtype)
    shape = out, c, *kernel
    if whole:
        weight = torch.randint(-9, 10, shape, generator=generator).to(dtype)
        bias = torch.randint(-9, 10, (out,), generator=generator).to(dtype)
    else:
        weight = torch.randn(shape, generator=generator, dtype=dtype)
        bias = torch.randn(out, generator=generator, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    return x, weight.requires_grad_(), bias.requires_grad_(), tuple(sizes)


@pytest.mark.parametrize("case", LAYERS)
def test_whole_numbers_are_added_up_to_the_bit(case):
    x, weight, bias, sizes = layer(case, torch.float32, whole=True)
    dense = functional.conv2d(x, weight, bias, *sizes)
    grad = torch.randint(-9, 10, dense.shape).float()
    wanted = torch.autograd.grad(dense, (weight, bias), grad)
    heard = synapses.hear(x, synapses.pack(x), weight, bias, sizes, BOTH)
    assert torch.equal(heard, dense)
    for found, want in zip(torch.autograd.grad(heard, (weight, bias), grad), wanted, strict=True):
        assert torch.equal(found, want)


@pytest.mark.parametrize(("case", "kept"), [(LAYERS[0], True), (LAYERS[4], False)])
def test_torch_never_computes_the_gradient_that_writes_behind_its_buffer(case, kept):
    """That of a pointwise convolution with a stride; torch's needs the input, ours its bits."""
    x, weight, bias, sizes = layer(case, torch.float32, whole=True)
    heard = synapses.hear(x, synapses.pack(x), weight, bias, sizes, (True, False))
    assert (heard.grad_fn.saved_tensors[2] is not None) == kept
    dense = functional.conv2d(x, weight, bias, *sizes)
    assert torch.equal(*(torch.autograd.grad(y.sum(), weight)[0] for y in (heard, dense)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", LAYERS)
def test_reals_differ_from_dense_ones_by_the_rounding_of_their_sums(case, dtype):
    """Each of k additions rounds once, so both sums are within k eps of the sum of sizes."""
    x, weight, bias, sizes = layer(case, dtype)
    eps = torch.finfo(dtype).eps
    wide = [t.detach().double().requires_grad_() for t in (x, weight, bias)]
    dense = functional.conv2d(*wide, *sizes)
    grad = torch.randn(dense.shape, dtype=dtype)
    wanted = torch.autograd.grad(dense, wide, grad.double())
    heard = synapses.hear(x, synapses.pack(x), weight, bias, sizes, BOTH)
    additions = weight[0].numel() + 1
    sums = functional.conv2d(wide[0], wide[1].abs(), wide[2].abs(), *sizes)
    assert ((heard.double() - dense).abs() <= 2 * additions * eps * sums).all()
    by_x, by_weight, by_bias = torch.autograd.grad(heard, (x, weight, bias), grad)
    sums = functional.conv2d(wide[0], wide[1], None, *sizes)
    (sums,) = torch.autograd.grad(sums, wide[1], grad.double().abs())
    additions = grad[:, 0].numel()
    assert ((by_weight.double() - wanted[1]).abs() <= 2 * additions * eps * sums).all()
    sums = grad.double().abs().sum((0, 2, 3))
    assert ((by_bias.double() - wanted[2]).abs() <= 2 * additions * eps * sums).all()
    sums = functional.conv2d(wide[0], wide[1].abs(), None, *sizes)
    (sums,) = torch.autograd.grad(sums, wide[0], grad.double().abs())
    additions = weight[:, 0].numel()
    assert ((by_x.double() - wanted[0]).abs() <= 2 * additions * eps * sums).all()


@pytest.mark.parametrize("case", [LAYERS[1], LAYERS[6], LAYERS[8]])
def test_gradients_are_those_of_finite_differences(case):
    x, weight, bias, sizes = layer(case, torch.float64)
    spikes = synapses.pack(x)

    def heard(weight, bias):
        return synapses.hear(x.detach(), spikes, weight, bias, sizes, BOTH)

    assert torch.autograd.gradcheck(heard, (weight, bias))


@pytest.mark.parametrize("case", [LAYERS[0], LAYERS[2]])
def test_threads_do_not_change_the_sums(case, monkeypatch):
    x, weight, bias, sizes = layer(case, torch.float32)
    found = []
    for count in (1, 2, 5):
        monkeypatch.setattr(synapses, "threads", lambda x, count=count: count)
        heard = synapses.hear(x, synapses.pack(x), weight, bias, sizes, BOTH)
        (by_weight,) = torch.autograd.grad(heard, weight, torch.ones_like(heard))
        found.append((heard, by_weight))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("wrong", [0.5, 2.0, -1.0, float("nan"), float("inf"), 1e-40])
@pytest.mark.parametrize("channels", [3, 8, 19])
def test_what_is_no_spike_is_seen(wrong, channels):
    x = torch.zeros(2, channels, 3, 3)
    x[0, 1] = 1.0
    packed = synapses.pack(x)
    assert packed is not None
    assert packed.rate == 9 / x.numel()
    x[1, channels - 1, 2, 1] = wrong
    assert synapses.pack(x) is None


@pytest.mark.parametrize("kind", ["and", "or", "iand", "xor"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gates_on_bits_are_the_gates(kind, dtype):
    plain = gates.residual_gate(kind)
    a, s = ((torch.rand(2, 3, 5, 3, 3) < 0.4).to(dtype).requires_grad_() for _ in range(2))
    grad = torch.randn(a.shape, dtype=dtype)
    joined = synapses.gate(a, s, kind)
    assert torch.equal(joined, plain(a, s))
    wanted = torch.autograd.grad(plain(a, s), (a, s), grad)
    for found, want in zip(torch.autograd.grad(joined, (a, s), grad), wanted, strict=True):
        assert torch.equal(found, want)
    assert synapses.gate(a * 0.5, s, kind) is None


def test_rate_and_shape_choose():
    size, sizes = (128, 64, 8, 8), ((1, 1), (1, 1), (1, 1))
    rare, often = (choose(size, (64, 64, 3, 3), sizes, rate) for rate in (0.05, 0.9))
    assert (rare.forward, rare.gradient) == BOTH
    assert (often.forward, often.gradient) == (False, False)
    for rate in (0.0, 0.9):  # tables do not ask how many fire
        assert choose((8, 16, 8, 8), (16, 16, 3, 3), sizes, rate).forward


@pytest.mark.slow
@pytest.mark.parametrize("level", ["avx2", "default"])
def test_with_fewer_instructions(level):
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": level, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    files = [
        str(Path(__file__).with_name(f"test_{name}.py"))
        for name in ("synapses", "spiking", "filtering")
    ]
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "not slow", *files]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:]
