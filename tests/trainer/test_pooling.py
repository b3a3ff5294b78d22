import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from purespike.trainer.nn import native
from purespike.trainer.nn.layers import AvgPool2d
from purespike.trainer.nn.pooling import halves

FORMATS = [torch.contiguous_format, torch.channels_last]
DTYPES = [torch.float32, torch.float64, torch.bfloat16]

built = pytest.mark.skipif(bool(native.available()), reason=f"no kernel: {native.available()}")


@built
@settings(max_examples=60)
@given(
    shape=st.tuples(*[st.integers(1, 3)] * 2, st.sampled_from([1, 2, 3, 17, 40])),
    half=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    dtype=st.sampled_from(DTYPES),
    formats=st.tuples(*[st.sampled_from(FORMATS)] * 2),
    seed=st.integers(0, 2**16),
)
def test_bit_equal_to_torch(shape, half, dtype, formats, seed):
    generator = torch.Generator().manual_seed(seed)
    steps, batch, channels = shape
    height, width = half
    images = (steps * batch, channels, 2 * height, 2 * width)
    x = torch.randn(images, generator=generator).to(dtype).contiguous(memory_format=formats[0])
    weights = torch.randn((*images[:2], height, width), generator=generator).to(dtype)
    weights = weights.contiguous(memory_format=formats[1])
    mine = x.unflatten(0, (steps, batch)).detach().requires_grad_()
    theirs = x.detach().requires_grad_()
    assert halves(AvgPool2d(2), x)
    out = AvgPool2d(2)(mine)
    expected = functional.avg_pool2d(theirs, 2)
    assert torch.equal(out.flatten(0, 1), expected) and out.dtype == dtype
    for form in FORMATS:
        assert out.flatten(0, 1).is_contiguous(memory_format=form) == expected.is_contiguous(
            memory_format=form
        )
    out.backward(weights.unflatten(0, (steps, batch)))
    expected.backward(weights)
    assert torch.equal(mine.grad.flatten(0, 1), theirs.grad)


@built
def test_threads_and_holes_do_not_change_the_result():
    x = torch.randn(4, 8, 6, 32, 32, generator=torch.Generator().manual_seed(1))
    expected = AvgPool2d(2)(x)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    assert torch.equal(AvgPool2d(2)(x), expected)
    torch.set_num_threads(before)
    holes = torch.stack([x, -x], -1)[..., 0]
    assert not holes.is_contiguous() and torch.equal(AvgPool2d(2)(holes), expected)


@pytest.mark.parametrize(
    ("pool", "size"),
    [
        (AvgPool2d(3), 6),
        (AvgPool2d(2, stride=1), 6),
        (AvgPool2d(2, padding=1), 6),
        (AvgPool2d(2), 5),
        (AvgPool2d(2, ceil_mode=True), 5),
        (AvgPool2d(2, divisor_override=3), 6),
    ],
    ids=str,
)
def test_other_poolings_are_torchs(pool, size):
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2))
    assert not halves(pool, x)
    assert torch.equal(pool(x[None])[0], torch.nn.AvgPool2d.forward(pool, x))


def test_without_a_kernel_it_is_torchs(monkeypatch):
    monkeypatch.setenv("PURESPIKE_KERNEL", "off")
    x = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(3))
    assert not halves(AvgPool2d(2), x)
    assert torch.equal(AvgPool2d(2)(x[None])[0], functional.avg_pool2d(x, 2))
