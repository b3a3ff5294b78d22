"""Synapses that add up spikes against dense ones, for shapes that nobody chose."""

import random

import pytest
import torch
from torch.nn import functional

from purespike.trainer.nn import synapses

pytestmark = pytest.mark.skipif(
    bool(synapses.available()), reason=f"no kernels here: {synapses.available()}"
)
SHAPES = 60


def drawn(draw):
    """Size of the input, shape of the weights, and stride, padding and dilation, which fit."""
    while True:
        sizes = tuple(
            tuple(draw.choice(values) for _ in "yx")
            for values in ((1, 1, 2, 3, 4), range(5), (1, 1, 2, 3))
        )
        kernel = tuple(draw.choice((1, 2, 3, 3, 5, 7)) for _ in "yx")
        image = tuple(draw.choice((*range(1, 12), 17, 18, 25, 33)) for _ in "yx")
        channels, out = (draw.choice((*range(1, 20), 24, 31, 40, 70)) for _ in "io")
        weight = torch.Size((out, channels, *kernel))
        size = torch.Size((draw.randint(1, 3), channels, *image))
        if synapses.fits(size, torch.empty(weight), sizes):
            return size, weight, sizes


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(k, marks=pytest.mark.slow) for k in range(1, 21))]
)
def test_any_shape_is_added_up_to_the_bit(seed):
    """Sums of whole numbers are exact in any order. Strides left spikes of other columns behind."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    for _ in range(SHAPES):
        size, shape, sizes = drawn(draw)
        dtype = draw.choice((torch.float32, torch.float64))
        x = (torch.rand(size) < draw.random()).to(dtype)
        weight = torch.randint(-9, 10, shape).to(dtype).requires_grad_()
        dense = functional.conv2d(x, weight, None, *sizes)
        grad = torch.randint(-9, 10, dense.shape).to(dtype)
        heard = synapses.hear(x, synapses.pack(x), weight, None, sizes, (True, True))
        assert torch.equal(heard, dense), (size, shape, sizes, dtype)
        wanted, found = (torch.autograd.grad(each, weight, grad)[0] for each in (dense, heard))
        assert torch.equal(found, wanted), (size, shape, sizes, dtype)
