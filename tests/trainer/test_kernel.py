from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from purespike.cli.installation import neurons
from purespike.compiler import native as compiled
from purespike.compiler.native import KernelError
from purespike.trainer.nn import kernel, native
from purespike.trainer.nn.neuron import IF, PLIF, Neuron
from purespike.trainer.nn.surrogate import (
    ATan,
    FastSigmoid,
    PiecewiseQuadratic,
    Rectangular,
    Shaped,
    Sigmoid,
    Surrogate,
    Tanh,
    Triangular,
)

SURROGATES = [ATan(2.0), Sigmoid(4.0), Rectangular(1.3), Triangular(0.8), FastSigmoid(2.0), Tanh()]
SURROGATES += [PiecewiseQuadratic(1.2), Shaped("arctan", 0.7, 1.4)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16]

built = pytest.mark.skipif(bool(native.available()), reason=f"no kernel: {native.available()}")


def results(
    neuron: Neuron, x: Tensor, weights: Tensor, mode: str, steps: int | None = None
) -> list[Tensor]:
    """Spikes, firing rate and all gradients, on one of the two paths."""
    leaf = x.detach().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PURESPIKE_KERNEL", mode)
        assert native.usable(leaf) == (mode != "off")
        neuron.zero_grad()
        spikes = neuron(leaf, steps)
        (spikes * weights).sum().backward()
    rate = neuron.firing_rate
    assert leaf.grad is not None and rate is not None
    learned = [p.grad.clone() for p in neuron.parameters() if p.grad is not None]
    return [spikes.detach(), leaf.grad, rate, *learned]


def compare(neuron: Neuron, x: Tensor, weights: Tensor, steps: int | None = None) -> None:
    fast = results(neuron, x, weights, "require", steps)
    slow = results(neuron, x, weights, "off", steps)
    assert fast[0].shape == weights.shape and fast[1].shape == x.shape
    assert torch.equal(fast[0], slow[0])
    assert torch.equal(fast[1], slow[1])  # the gradient by the input, to the last bit
    assert fast[1].dtype == x.dtype and fast[0].dtype == x.dtype
    for one, other in zip(fast[2:], slow[2:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)  # sums in another order


def random(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@built
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: type(s).__name__)
def test_bit_equal_to_torch(
    surrogate: Surrogate, reset: str, detach: bool, dtype: torch.dtype
) -> None:
    neuron = Neuron(
        decay=0.7,
        input_scale=0.9,
        threshold=0.6,
        reset=reset,
        amount=0.8,
        surrogate=surrogate,
        detach_reset=detach,
    )
    shape = (5, 3, 7, 11, 13)  # 3003 neurons: two whole blocks of the kernel and a part
    compare(neuron, random(shape, 1, dtype) + 0.3, random(shape, 2, dtype))
    compare(neuron, random((1, *shape[1:]), 3, dtype) + 0.3, random(shape, 2, dtype), 5)


@built
@settings(max_examples=60)
@given(
    steps=st.integers(1, 6),
    n=st.integers(1, 2100),
    decay=st.sampled_from([0.0, 0.5, 0.9, 1.0]) | st.floats(0.0, 1.0),
    scale=st.sampled_from([1.0, 0.5]) | st.floats(1e-3, 4.0),
    threshold=st.sampled_from([0.5, 1.0]) | st.floats(1e-2, 3.0),
    reset=st.sampled_from(["zero", "subtract"]),
    detach=st.booleans(),
    dtype=st.sampled_from(DTYPES),
    grid=st.booleans(),
    held=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_bit_equal_for_random_neurons(
    steps: int,
    n: int,
    decay: float,
    scale: float,
    threshold: float,
    reset: str,
    detach: bool,
    dtype: torch.dtype,
    grid: bool,
    held: bool,
    seed: int,
) -> None:
    neuron = Neuron(
        decay=decay, input_scale=scale, threshold=threshold, reset=reset, detach_reset=detach
    )
    x = 2 * random((steps, 1, n), seed)
    x = (x * 4).round() / 4 if grid else x  # on a grid, ties with the threshold are frequent
    x, weights = x.to(dtype), random((steps, 1, n), seed + 1, dtype)
    compare(neuron, x[:1] if held else x, weights, steps if held else None)


@built
def test_learned_coefficients_and_the_rectificator() -> None:
    x, weights = random((4, 2, 50), 3), random((4, 2, 50), 4)
    compare(PLIF(tau=3.0), x, weights)
    compare(PLIF(tau=3.0, reset="subtract", detach_reset=False), x.bfloat16(), weights.bfloat16())
    rectified = Neuron(threshold=0.5, amount=1.0, reset="subtract", rectified=True)
    compare(rectified, x, weights)
    compare(PLIF(tau=3.0), x[:1], weights, 4)
    compare(rectified, x[:1], weights, 4)


@built
def test_any_memory_format_of_input_and_gradient() -> None:
    neuron = Neuron(decay=0.6, surrogate=Sigmoid())
    base, weights = random((4 * 2, 6, 5, 3), 5), random((4, 2, 6, 5, 3), 6)
    expected = results(neuron, base.reshape(4, 2, 6, 5, 3), weights, "off")
    channels_last = base.to(memory_format=torch.channels_last).reshape(4, 2, 6, 5, 3)
    batch_first = base.reshape(4, 2, 6, 5, 3).transpose(0, 1).contiguous().transpose(0, 1)
    holes = torch.stack([base, base], -1).reshape(4, 2, 6, 5, 3, 2)[..., 0]
    for x in (channels_last, batch_first, holes):
        assert not x.is_contiguous()
        for g in (weights, weights.transpose(2, 4).contiguous().transpose(2, 4)):
            fast = results(neuron, x, g, "require")
            assert torch.equal(fast[0], expected[0]) and torch.equal(fast[1], expected[1])
    spikes = neuron(channels_last)
    assert spikes.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


@built
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_infinities_and_nan_spread_as_in_torch(reset: str) -> None:
    x, weights = random((5, 4, 30), 15), random((5, 4, 30), 16)
    x[1, 0, 3], x[2, 1, 4], x[1, 2, 5], weights[3, 3, 6] = torch.tensor(
        [float("inf"), float("-inf"), float("nan"), float("inf")]
    )
    fast = results(Neuron(decay=0.5, reset=reset), x, weights, "require")
    slow = results(Neuron(decay=0.5, reset=reset), x, weights, "off")
    for one, other in zip(fast[:2], slow[:2], strict=True):
        torch.testing.assert_close(one, other, rtol=0.0, atol=0.0, equal_nan=True)
    assert fast[1].isnan().any()


@built
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_current_that_is_held_is_neither_copied_out_nor_is_its_gradient(
    dtype: torch.dtype,
) -> None:
    base, weights = 2 * random((2, 6, 5, 3), 7, dtype), random((4, 2, 6, 5, 3), 8, dtype)
    neuron = Neuron(decay=0.6, input_scale=0.7, detach_reset=False)
    written = results(neuron, base.expand(4, *base.shape).contiguous(), weights, "require")
    every = written[1].double().sum(0, keepdim=True)  # each step's is rounded to dtype
    for image in (base, base.contiguous(memory_format=torch.channels_last)):
        held = results(neuron, image[None], weights, "require", 4)
        assert torch.equal(held[0], written[0]) and 0 < held[2] == written[2]
        near = {torch.float32: 1e-6, torch.float64: 1e-14, torch.bfloat16: 2e-2}[dtype]
        torch.testing.assert_close(held[1].double(), every, rtol=near, atol=near)
        same = image.is_contiguous(memory_format=torch.channels_last)
        assert held[0][0].is_contiguous(memory_format=torch.channels_last) == same
        assert held[1][0].is_contiguous(memory_format=torch.channels_last) == same


@built
def test_threads_do_not_change_the_result() -> None:
    x, weights = random((4, 8, 4000), 9), random((4, 8, 4000), 10)  # enough to be split
    before = torch.get_num_threads()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(results(Neuron(decay=0.5), x, weights, "require"))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@built
def test_nothing_is_kept_where_no_gradient_is_needed() -> None:
    x = random((4, 2, 50), 11)
    _, gap, rate = kernel.forward(
        x, scale=1.0, decay=1.0, threshold=1.0, amount=1.0, to_zero=True, keep_gap=False
    )
    assert gap is None and rate == pytest.approx(IF()(x).mean().item())


@built
def test_only_the_sign_of_the_saved_distance_is_rounded_safely() -> None:
    # Next to the threshold bfloat16 still tells firing from not firing.
    close = torch.tensor([[1.0 - 2**-24, 1.0, 1.0 + 2**-23]])
    for mode in ("require", "off"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PURESPIKE_KERNEL", mode)
            assert (close - 1.0).bfloat16().ge(0).tolist() == IF()(close).bool().tolist()


def test_other_inputs_take_the_torch_path() -> None:
    assert not native.usable(torch.zeros(2, 2, dtype=torch.float16))
    assert not native.usable(torch.zeros(2, 0))
    assert not native.usable(torch.zeros(2, 2, device="meta"))
    assert IF()(torch.zeros(2, 2, device="meta")).shape == (2, 2)
    half = torch.full((3, 1), 0.6, dtype=torch.float16, requires_grad=True)
    out = IF()(half)
    out.sum().backward()
    assert out.flatten().tolist() == [0, 1, 0] and half.grad is not None
    assert half.grad.dtype == torch.float16


def test_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURESPIKE_KERNEL", "off")
    assert native.available() == "PURESPIKE_KERNEL=off"
    said = neurons()
    assert said.works and "torch operations" in said.found and said.found.endswith("KERNEL=off")
    monkeypatch.setenv("PURESPIKE_KERNEL", "fast")
    assert not neurons().works and "unknown value" in neurons().found
    with pytest.raises(KernelError, match="unknown value of PURESPIKE_KERNEL"):
        IF()(torch.zeros(2, 2))


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and nothing remembered of the kernel in use."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PURESPIKE_KERNEL", raising=False)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    native._library.cache_clear()
    compiled._loaded.cache_clear()
    native.function.cache_clear()


@pytest.mark.parametrize("case", ["no compiler", "it fails", "no folder"])
def test_without_a_kernel_nothing_is_said_and_nothing_breaks(
    case: str,
    fresh: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    compiler = fresh / "compiler"
    compiler.write_text("#!/bin/sh\necho noise; echo more noise >&2; exit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", "/nowhere/g++ -x" if case == "no compiler" else str(compiler))
    if case == "no folder":
        monkeypatch.setenv("XDG_CACHE_HOME", str(compiler))  # a file
    x = random((4, 3), 12).requires_grad_()
    IF()(x).sum().backward()
    assert not native.usable(x) and x.grad is not None
    assert capfd.readouterr() == ("", "")
    reason = {"no compiler": "no C++ compiler", "it fails": "more noise", "no folder": "compiler"}
    assert reason[case] in native.available()
    assert not list(fresh.rglob("*.so")) and not list((fresh / "cache").rglob("tmp*"))
    monkeypatch.setenv("PURESPIKE_KERNEL", "require")
    with pytest.raises(KernelError, match="cannot be built") as caught:
        IF()(x)
    assert reason[case] in caught.value.found
    said = neurons()
    assert not said.works and reason[case] in said.found and "install g++" in said.remedy


@built
@pytest.mark.slow
def test_processes_that_build_at_once_all_get_a_whole_kernel(fresh: Path) -> None:
    children = [get_context("fork").Process(target=native.available) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    (library,) = (fresh / "cache" / "purespike").iterdir()  # one, and nothing left beside it
    assert not native.available() and [*library.parent.iterdir()] == [library]
    compare(Neuron(decay=0.5), random((4, 2, 50), 13), random((4, 2, 50), 14))
    assert neurons().works and "compiled kernel" in neurons().found


def test_a_threshold_by_channel_goes_the_way_of_torch() -> None:
    neuron = IF()
    thresholds = torch.tensor([0.5, 1.0, 2.0])
    object.__setattr__(neuron, "threshold", thresholds)
    x = torch.rand(4, 2, 3)
    expected = torch.stack([IF(threshold=float(t))(x[..., k]) for k, t in enumerate(thresholds)], 2)
    assert torch.equal(neuron(x), expected)
