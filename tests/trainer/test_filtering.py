"""The gradient by a convolution's input, against torch's and against Toom-Cook's own rounding."""

import numpy as np
import pytest
import torch
from numpy.polynomial import polynomial
from torch.nn import functional

from purespike.trainer.nn import filtering, synapses

pytestmark = pytest.mark.skipif(
    bool(synapses.available()), reason=f"no kernels here: {synapses.available()}"
)
# N, C, height, width, C', padding
LAYERS = (
    (2, 16, 8, 8, 16, (1, 1)),
    (30, 3, 4, 4, 5, (1, 1)),
    (3, 70, 7, 11, 33, (1, 1)),
    (2, 8, 13, 5, 20, (0, 2)),
    (1, 33, 3, 6, 9, (0, 0)),
    (2, 130, 5, 4, 64, (2, 1)),
)


def layer(case, dtype=torch.float64):
    n, c, height, width, out, padding = case
    generator = torch.Generator().manual_seed(len(str(case)))
    weight = torch.randn(out, c, 3, 3, generator=generator, dtype=dtype)
    rows, columns = height + 2 * padding[0] - 2, width + 2 * padding[1] - 2
    grad = torch.randn(n, out, rows, columns, generator=generator, dtype=dtype)
    grad = grad.contiguous(memory_format=torch.channels_last)
    return grad, weight, torch.Size((n, c, height, width)), ((1, 1), padding, (1, 1))


def dense(grad, weight, size, sizes):
    x = torch.zeros(size, dtype=weight.dtype, requires_grad=True)
    return torch.autograd.grad(functional.conv2d(x, weight, None, *sizes), x, grad)[0]


def matrices():
    """Of Toom-Cook at 0, 3/4, -3/4, 3/2, -3/2 and infinity, from the polynomials themselves."""
    points = [0.0, 0.75, -0.75, 1.5, -1.5]
    leave, kernel, enter = np.zeros((4, 6)), np.zeros((6, 3)), np.zeros((6, 6))
    for i, p in enumerate(points):
        others = [q for q in points if q != p]
        enter[i, :5] = polynomial.polyfromroots(others)
        kernel[i] = p ** np.arange(3) / np.prod([p - q for q in others])
        leave[:, i] = p ** np.arange(4)
    enter[5] = polynomial.polyfromroots(points)
    kernel[5, 2] = leave[3, 5] = 1
    return leave, kernel, enter


def squares(grad, weight, size, sizes, sign):
    """The same by these matrices, in float64; of their sizes and of all sizes where sign is abs."""
    leave, kernel, enter = (sign(m) for m in matrices())
    n, c, height, width = size
    down, across = -(-height // 4), -(-width // 4)
    top, left = (2 - p for p in sizes[1])
    d = np.zeros((n, len(weight), 4 * down + 2, 4 * across + 2))
    g = sign(grad.double().numpy())
    g = g[:, :, : d.shape[2] - top, : d.shape[3] - left]
    d[:, :, top : top + g.shape[2], left : left + g.shape[3]] = g
    turned = sign(weight.double().numpy()[:, :, ::-1, ::-1])
    u = np.einsum("ia,ocab,jb->ijoc", kernel, turned, kernel)
    out = np.zeros((n, c, 4 * down, 4 * across))
    for y in range(down):
        for x in range(across):
            patch = d[:, :, 4 * y : 4 * y + 6, 4 * x : 4 * x + 6]
            v = np.einsum("ia,noab,jb->ijno", enter, patch, enter)
            m = np.einsum("ijno,ijoc->ncij", v, u)
            out[:, :, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4] = leave @ m @ leave.T
    return torch.from_numpy(out[:, :, :height, :width])


@pytest.mark.parametrize("case", LAYERS)
def test_the_gradient_is_that_of_the_convolution(case):
    args = layer(case)
    assert filtering.kernel(args[2], args[1], args[3]) == "filtered"
    found = filtering.by_input(*args)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, dense(*args), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(squares(*args, np.asarray), dense(*args), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("case", LAYERS)
def test_it_rounds_as_sums_over_squares_do(case):
    """Within (k + 40) eps of the sum of sizes in the square: k products, 40 for the transforms."""
    grad, weight, size, sizes = layer(case, torch.float32)
    found = filtering.by_input(grad, weight, size, sizes).double()
    wanted = dense(grad.double(), weight.double(), size, sizes)
    bound = squares(grad, weight, size, sizes, np.abs)
    error = (found - wanted).abs()
    assert (error <= (len(weight) + 40) * torch.finfo(torch.float32).eps * bound).all()
    # In practice no more than a few times what torch's own sums are off.
    torchs = (dense(grad, weight, size, sizes).double() - wanted).square().mean().sqrt()
    assert error.square().mean().sqrt() <= 8 * torchs


@pytest.mark.parametrize("case", LAYERS[:2])
def test_finite_differences_agree(case):
    generator = torch.Generator().manual_seed(5)
    n, c, height, width = 1, 3, *case[2:4]
    weight = torch.randn(4, c, 3, 3, generator=generator, dtype=torch.float64)
    x = (torch.rand(n, c, height, width, generator=generator) < 0.3).double()
    x = x.contiguous(memory_format=torch.channels_last)
    spikes, sizes = synapses.pack(x), ((1, 1), (1, 1), (1, 1))

    def through(scale):  # the output is linear in spikes: replace them on the way back only
        heard = synapses.hear(scale, spikes, weight, None, sizes, (True, True))
        return heard.sum((2, 3))

    x.requires_grad_()
    (found,) = torch.autograd.grad(through(x).square().sum(), x)
    step = torch.zeros_like(x)
    for place in ((0, 0, 0, 0), (0, 2, height - 1, width - 1), (0, 1, 2, 1)):
        step.zero_()[place] = 1e-6
        ends = [
            functional.conv2d(x.detach() + s * step, weight, padding=1).sum((2, 3)).square().sum()
            for s in (1, -1)
        ]
        assert found[place] == pytest.approx(float(ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-6)


# N, C, height, width, C', kernel, stride, padding, dilation
OTHERS = (
    (9, 16, 16, 15, 32, (3, 3), (2, 2), (1, 1), (1, 1)),
    (9, 7, 13, 11, 20, (3, 3), (1, 1), (2, 0), (2, 3)),
    (9, 33, 9, 9, 9, (1, 1), (1, 1), (0, 0), (1, 1)),
    (9, 70, 16, 17, 9, (1, 1), (2, 2), (0, 0), (1, 1)),
    (9, 5, 14, 14, 3, (3, 1), (1, 3), (4, 0), (1, 1)),
    (300, 5, 2, 2, 3, (3, 3), (1, 1), (1, 1), (1, 1)),
)


def other(case, dtype):
    n, c, height, width, out, kernel, *sizes = case
    generator = torch.Generator().manual_seed(len(str(case)))
    weight = torch.randn(out, c, *kernel, generator=generator, dtype=dtype)
    size = torch.Size((n, c, height, width))
    shape = functional.conv2d(torch.zeros(size, dtype=dtype), weight, None, *sizes).shape
    grad = torch.randn(shape, generator=generator, dtype=dtype)
    return grad.contiguous(memory_format=torch.channels_last), weight, size, tuple(sizes)


@pytest.mark.parametrize("case", OTHERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_kernels_round_as_sums_do(case, dtype):
    """Each of k fused additions rounds once: within k eps of the sum of sizes."""
    args = grad, weight, size, sizes = other(case, dtype)
    assert filtering.kernel(size, weight, sizes) == "scattered"
    wide = dense(grad.double(), weight.double(), size, sizes)
    sums = dense(grad.double().abs(), weight.double().abs(), size, sizes)
    bound = 2 * weight[:, 0].numel() * torch.finfo(dtype).eps * sums
    assert ((filtering.by_input(*args).double() - wide).abs() <= bound).all()


@pytest.mark.parametrize("args", [layer(LAYERS[2], torch.float32), other(OTHERS[0], torch.float32)])
def test_threads_do_not_change_the_sums(args, monkeypatch):
    found = []
    for count in (1, 2, 5):
        monkeypatch.setattr(filtering, "threads", lambda x, count=count: count)
        found.append(filtering.by_input(*args))
    assert all(torch.equal(found[0], other) for other in found[1:])


@pytest.mark.parametrize(
    ("size", "kernel"), [((9, 4, 9, 9), (5, 5)), ((2, 4, 8, 8), (1, 1)), ((20, 4, 2, 9), (3, 3))]
)
def test_what_is_large_or_little_is_torchs(size, kernel):
    sizes = (1, 1), (1, 1), (1, 1)
    weight = torch.randn(5, 4, *kernel, dtype=torch.float64)
    x = torch.zeros(size, dtype=torch.float64)
    grad = torch.randn(functional.conv2d(x, weight, None, *sizes).shape, dtype=torch.float64)
    assert not filtering.kernel(x.shape, weight, sizes)
    found = filtering.by_input(grad, weight, x.shape, sizes)
    torch.testing.assert_close(found, dense(grad, weight, x.shape, sizes))
