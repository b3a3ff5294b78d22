"""Which layers are worth adding up spikes for, by the rate at which they fire.

A model of the cycles of a core, as the cpu executor has one, and no stop-watch: the choice is part
of the result to the last bit, so it must be the same whatever else the machine is doing. The
constants were measured on Zen 4, with AVX2 and with AVX-512, against oneDNN.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil

__all__ = ["Choice", "choose", "cycles", "worth_a_block"]

_LANES = 16  # of numbers in a vector of 512 bits, or in two of 256
_TABLED = 16  # channels at most, as in kernels/forward.h
_GAIN = 0.95  # a kernel that promises less than that is left alone
# That a layer costs besides its sums, and not in a block; 278 us by benchmarks/RESULTS.md, of which
# a block keeps some.
_STEP = 300_000
_CALL = 600_000  # of a dense gradient of weights, whatever its size: measured on Sapphire Rapids


@dataclass(frozen=True)
class Choice:
    """Whether spikes are added up, in one layer.

    Attributes:
        forward: for the output.
        gradient: for the gradient of the weights.
        rate: at which the layer's input fired.
    """

    forward: bool
    gradient: bool
    rate: float


def choose(
    size: Sequence[int],
    weight: Sequence[int],
    sizes: tuple[tuple[int, int], ...],
    rate: float,
) -> Choice:
    """Choose by shapes and rate; arguments as in :func:`cycles`."""
    forward, gradient, dense, dense_gradient = cycles(size, weight, sizes, rate)
    return Choice(forward < _GAIN * dense, gradient < _GAIN * dense_gradient, rate)


def worth_a_block(
    convolutions: Iterable[tuple[Sequence[int], Sequence[int], tuple[tuple[int, int], ...], float]],
) -> bool:
    """Whether a block whose layers all add up spikes is quicker than one layer after the other.

    Args:
        convolutions: size, weight, sizes and rate of each, as in :func:`cycles`.
    """
    lost = 0.0
    layers = 0
    for size, weight, sizes, rate in convolutions:
        forward, gradient, dense, dense_gradient = cycles(size, weight, sizes, rate)
        lost += size[0] * (max(0.0, forward - dense) + max(0.0, gradient - dense_gradient))
        layers += 1
    return lost < _STEP * layers


def cycles(
    size: Sequence[int],
    weight: Sequence[int],
    sizes: tuple[tuple[int, int], ...],
    rate: float,
) -> tuple[float, float, float, float]:
    """Cycles for an image: by events forward and in the gradient of weights, and dense for both.

    Args:
        size: of the input, (N, C, H, W).
        weight: (C', C, kh, kw).
        sizes: stride, padding and dilation, by rows and columns.
        rate: of the input, spikes a place.
    """
    images, channels, *image = size
    out, _, *kernel = weight
    stride, padding, dilation = sizes
    places = [
        (image[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in (0, 1)
    ]
    taps, pixels, vectors = kernel[0] * kernel[1], places[0] * places[1], ceil(out / _LANES)
    dense = 1.1 * pixels * taps * channels * vectors
    if channels <= _TABLED:
        forward = pixels * (22 + 1.7 * taps * ceil(channels / 4) * vectors)
    else:
        listed = 14 * kernel[0] * ceil(channels / 8) * image[1] / places[1]
        heard = rate * taps * channels
        forward = pixels * (listed + 40 * ceil(vectors / 4) + 1.5 * heard * vectors)
    # A stride takes pixels apart; of each part, as many taps hear as of the others, or none.
    parts = stride[0] * stride[1]
    heard_from = channels * image[0] * image[1] * min(1.0, taps / parts)
    gradient = (
        2.0 * heard_from
        + 8 * vectors * pixels
        + rate * heard_from * (0.8 + 1.3 * max(1.0, taps / parts) * vectors)
    )
    return forward, gradient, dense, dense + _CALL / images
