"""QONNX that has no exact form is refused: what, where, and what to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from helpers.qonnx_cases import DOMAIN, Writer

from purespike.compiler.errors import PurespikeError
from purespike.targets.onnx.quantized.read import read_quantized, understood

Build = Callable[[Writer], None]
IMAGE = (2, 4, 4)


def writer(shape: tuple[int, ...] = IMAGE) -> Writer:
    return Writer(np.random.default_rng(0), shape)


def refused(build: Build, shape: tuple[int, ...] = IMAGE) -> PurespikeError:
    w = writer(shape)
    build(w)
    with pytest.raises(PurespikeError) as e:
        understood(w.model(shape))
    return e.value


def quantized(w: Writer) -> str:
    return w.quant("x", 2, 0.25)


def conv(w: Writer, x: str, scale: object = 0.5) -> str:
    weight = w.constant(w.r.integers(-3, 4, (3, 2, 1, 1)))
    w.shape = (3, 4, 4)
    return w.op("Conv", x, w.quant(weight, 3, scale, signed=True), kernel_shape=[1, 1])


def relu_and_layer(w: Writer) -> None:
    x = w.op("Relu", conv(w, quantized(w)))
    w.op("Conv", x, w.quant(w.constant(np.ones((3, 3, 1, 1))), 3, 0.5), kernel_shape=[1, 1])


def float_weights(w: Writer) -> None:
    weight = w.constant(np.random.default_rng(0).normal(size=(3, 2, 1, 1)))
    w.shape = (3, 4, 4)
    w.op("Conv", quantized(w), weight, kernel_shape=[1, 1])


def unequal_sum(w: Writer) -> None:
    x = quantized(w)
    w.op("Add", w.quant(x, 3, 0.3), w.quant(x, 3, 0.7))


def channel_scales_at_the_end(w: Writer) -> None:
    conv(w, quantized(w), np.array([0.3, 0.5, 0.7]).reshape(3, 1, 1, 1))


def channel_scales_of_levels(w: Writer) -> None:
    conv(w, w.quant("x", 2, np.array([0.3, 0.7]).reshape(1, 2, 1, 1)))


def too_many_bits(w: Writer) -> None:
    w.quant(conv(w, quantized(w)), 9, 0.5)


def scale_of_zero(w: Writer) -> None:
    w.quant("x", 2, 0.0)


def scale_that_is_no_number(w: Writer) -> None:
    w.quant("x", 2, float("nan"))


def unknown_rounding(w: Writer) -> None:
    w.quant("x", 2, 0.5, mode="STOCHASTIC")


def bits_that_are_none(w: Writer) -> None:
    w.quant("x", 0, 0.5)


def scale_from_the_network(w: Writer) -> None:
    w.op(
        "Quant", "x", quantized(w), w.constant(0), w.constant(2), domain=DOMAIN,
        signed=0, narrow=0, rounding_mode="ROUND",
    )  # fmt: skip


def product(w: Writer) -> None:
    x = quantized(w)
    w.op("Mul", x, x)


def minimum_behind_a_pool(w: Writer) -> None:
    x = w.op("MaxPool", conv(w, quantized(w)), kernel_shape=[2, 2], strides=[2, 2])
    w.shape = (3, 2, 2)
    w.quant(w.op("Mul", x, w.constant(-1)), 2, 0.5)


def own_operator(w: Writer) -> None:
    w.op("Trunc", quantized(w), *map(w.constant, (0.5, 0, 4, 2)), domain=DOMAIN)


def softmax(w: Writer) -> None:
    w.op("Softmax", conv(w, quantized(w)))


def layer_of_a_layer(w: Writer) -> None:
    x = conv(w, quantized(w))
    w.op("Conv", x, w.quant(w.constant(np.ones((3, 3, 1, 1))), 3, 0.5), kernel_shape=[1, 1])


def thresholds_in_other_places(w: Writer) -> None:
    table = w.constant(np.ones((2, 3)))
    w.op("MultiThreshold", "x", table, domain=DOMAIN, out_dtype="UINT2", data_layout="NHWC")


def nothing_but_the_input(w: Writer) -> None:
    w.op("Relu", "x")


def endless_factors(w: Writer) -> None:
    x = conv(w, quantized(w))
    for _ in range(70):
        x = w.op("Mul", x, w.constant(1.1))


def places_that_differ(w: Writer) -> None:
    w.op("Add", quantized(w), w.constant(np.arange(32).reshape(2, 4, 4)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (relu_and_layer, "takes something that no quantizer made"),
        (layer_of_a_layer, "takes something that no quantizer made"),
        (float_weights, "weights that are not quantized"),
        (unequal_sum, "adds values of different scales"),
        (channel_scales_at_the_end, "each has a unit of its own"),
        (channel_scales_of_levels, "no common unit"),
        (too_many_bits, "too many levels"),
        (scale_of_zero, "a scale is not above 0"),
        (scale_that_is_no_number, "not finite"),
        (unknown_rounding, "unknown rounding"),
        (bits_that_are_none, "a bit width that no quantizer has"),
        (scale_from_the_network, "no constant"),
        (product, "two values of the network are multiplied"),
        (minimum_behind_a_pool, "a maximum becomes a minimum"),
        (own_operator, "no exact form"),
        (softmax, "no exact form"),
        (endless_factors, "too many operations"),
        (places_that_differ, "a constant differs within a channel"),
        (thresholds_in_other_places, "channels in another place"),
        (nothing_but_the_input, "no layer of the network would run on the chip"),
    ],
)
def test_each_refusal_names_what_and_where(build: Build, message: str) -> None:
    error = refused(build)
    assert message in error.message
    assert error.where.startswith(("node '", "output '"))
    assert error.found or error.remedy or error.allowed


def test_states_are_no_quantized_network() -> None:
    w = writer()
    quantized(w)
    model = w.model(IMAGE)
    extra = onnx.ValueInfoProto()
    extra.CopyFrom(model.graph.input[0])
    extra.name = "state"
    model.graph.input.append(extra)
    with pytest.raises(PurespikeError, match="has one input"):
        understood(model)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_file_is_an_error_of_ours(seed: int, tmp_path: object) -> None:
    """Bytes of a real file exchanged at random: read, or refused with a reason."""
    from pathlib import Path

    source = Path(__file__).resolve().parents[1] / "data" / "qonnx" / "digits_residual_3bit.onnx"
    content = bytearray(source.read_bytes())
    r = np.random.default_rng(seed)
    for _ in range(int(r.integers(1, 12))):
        content[int(r.integers(len(content)))] = int(r.integers(256))
    path = Path(str(tmp_path)) / "net.onnx"
    path.write_bytes(bytes(content))
    try:
        read_quantized(path)
    except PurespikeError as e:
        assert e.message
