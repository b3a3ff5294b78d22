import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from purespike.trainer.data import digits
from purespike.trainer.errors import ConfigError, ShapeError
from purespike.trainer.nn.encoders import ENCODERS, bit_plane, encode, latency, rate

ALL_LEVELS = torch.arange(17, dtype=torch.uint8).view(1, 1, 1, 17)
BYTES = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)


@pytest.mark.parametrize("name", ENCODERS)
def test_codes_are_binary_and_of_the_stated_shape(name):
    images = digits().test_images[:7]
    out = encode(name, images, 6, seed=3)
    assert out.shape == (6, 7, ENCODERS[name].channels, 8, 8)
    assert out.dtype == torch.float32
    assert set(out.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(out, encode(name, images, 6, seed=3))
    assert torch.equal(out, encode(name, images, 6, seed=4)) == ENCODERS[name].deterministic


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 255), st.integers(1, 3), st.integers(1, 6))
def test_bit_planes_give_every_level_back(seed, levels, channels, steps):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, channels, 3, 5)
    images = torch.randint(0, levels + 1, shape, generator=generator).to(torch.uint8)
    planes = encode("bit_plane", images, steps, levels=levels)
    bits = levels.bit_length()
    assert planes.shape == (steps, 2, channels * bits, 3, 5)
    weights = 2 ** torch.arange(bits).view(bits, 1, 1)
    levels_again = (planes.view(steps, 2, channels, bits, 3, 5).long() * weights).sum(3)
    assert torch.equal(levels_again, images.long().expand(steps, *shape))


def test_a_convolution_on_bit_planes_is_that_on_the_levels():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (3, 3, 9, 9), generator=generator).to(torch.uint8)
    weight = torch.randn(4, 3, 3, 3, generator=generator, dtype=torch.float64)
    scaled = weight[:, :, None] * (2.0 ** torch.arange(8)).view(1, 1, 8, 1, 1) / 255
    planes = bit_plane(images, 1, levels=255)[0].double()
    from_planes = torch.conv2d(planes, scaled.flatten(1, 2), padding=1)
    from_levels = torch.conv2d(images.double() / 255, weight, padding=1)
    assert torch.allclose(from_planes, from_levels, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("images", "levels"), [(ALL_LEVELS, 16), (BYTES, 255)])
def test_rate_has_the_stated_mean_and_variance_and_no_memory(images, levels):
    steps = 4000
    out = rate(images, steps, 1, levels).flatten(1)
    p = torch.arange(levels + 1) / levels
    # Six standard deviations of a mean of `steps` draws: a correct code fails once in 10^6.
    assert ((out.mean(0) - p).abs() <= 6 * (p * (1 - p) / steps).sqrt() + 1e-6).all()
    assert out[:, 0].sum() == 0 and out[:, -1].sum() == steps
    centred = out - p
    neighbours = (centred[1:] * centred[:-1]).mean(0)  # of two steps in a row
    assert (neighbours.abs() <= 6 * p * (1 - p) / steps**0.5 + 1e-6).all()
    pixels = (centred[:, 1:-2] * centred[:, 2:-1]).mean(0)  # of two pixels at one step
    assert (pixels.abs() <= 6 * 0.25 / steps**0.5).all()


@pytest.mark.parametrize("steps", [1, 4, 5, 16, 20])
@pytest.mark.parametrize(("images", "levels"), [(ALL_LEVELS, 16), (BYTES, 255)])
def test_latency_fires_once_and_bright_first(steps, images, levels):
    out = latency(images, steps, levels=levels).flatten(1)
    assert out.sum(0).tolist() == [0.0] + [1.0] * levels
    when = out[:, 1:].argmax(0).tolist()
    assert when == [(levels - level) * steps // levels for level in range(1, levels + 1)]
    assert when[-1] == 0


def test_latency_of_enough_steps_gives_the_level_back():
    steps = 255
    when = latency(BYTES, steps, levels=255).flatten(1)[:, 1:].argmax(0)
    assert torch.equal(255 - when, torch.arange(1, 256))


@pytest.mark.parametrize(
    ("images", "levels"),
    [
        (torch.zeros(2, 1, 8, 8), 16),
        (torch.zeros(2, 8, 8, dtype=torch.uint8), 16),
        (torch.full((2, 1, 8, 8), 17, dtype=torch.uint8), 16),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), 256),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), 0),
    ],
)
def test_other_images_are_refused(images, levels):
    with pytest.raises(ShapeError, match="whole levels"):
        encode("bit_plane", images, 4, levels=levels)


def test_unknown_encoder():
    with pytest.raises(ConfigError, match="bit_plane, rate, latency"):
        encode("morse", ALL_LEVELS, 4)
