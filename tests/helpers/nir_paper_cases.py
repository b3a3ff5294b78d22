"""The networks of the NIR paper (Pedersen et al., 2024), node for node, with random weights.

Names, types, shapes, edges and constants are those of the files in the paper's repository
(github.com/neuromorphs/NIR, folder paper) and of the exporters that wrote them; the files
themselves are not needed. All of them leave dt = 1e-4 s, the reset and the timing of loops to the
words beside them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import nir
import numpy as np

DT = 1e-4
ISI = (
    6,
    15,
    4,
    3,
    0,
    2,
    1,
    2,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    12,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    5,
    0,
    2,
    1,
    0,
    0,
)


def chain(nodes: dict[str, Any], shape_in: Any, shape_out: Any) -> nir.NIRGraph:
    names = ["input", *nodes, "output"]
    ports = {"input": nir.Input(np.array(shape_in)), "output": nir.Output(np.array(shape_out))}
    return nir.NIRGraph({**ports, **nodes}, list(pairwise(names)), type_check=False)


def single_lif() -> nir.NIRGraph:
    """01_lif/lif_norse.nir: an Affine that does nothing, and one neuron, as Norse writes them."""
    one = np.ones(1, np.float32)
    lif = nir.LIF(tau=0.0025 * one, r=one, v_leak=0 * one, v_threshold=0.1 * one)
    return chain({"0": nir.Affine(np.ones((1, 1), np.float32), 0 * one), "1": lif}, [1], [1])


def ramp() -> Any:
    """(T, 1, 1): the spikes that drive it, each 10 steps of 1e-4 s from the next place."""
    x = np.zeros((10 * (sum(ISI) + len(ISI)) + 10, 1, 1))
    x[10 * np.cumsum([n + 1 for n in ISI])] = 1
    return x


def two_lifs() -> nir.NIRGraph:
    """01_lif/debug_spike_representation/two_lif_neurons.nir: the first neuron drives itself."""
    one = np.ones(1)
    nodes = {
        "linear1": nir.Linear(np.ones((1, 1))),
        "lif1": nir.LIF(0.01 * one, one, v_leak=1.2 * one, v_threshold=one),
        "linear2": nir.Linear(np.ones((1, 1))),
        "lif2": nir.LIF(0.01 * one, one, v_leak=0 * one, v_threshold=20 * one),
    }
    return chain(nodes, [1], [1])


def cnn(*, flatten_from: int = 0, batch: bool = False) -> nir.NIRGraph:
    """02_cnn/scnn_mnist.nir: N-MNIST, 34 x 34 events of two polarities, as sinabs writes it.

    Args:
        flatten_from: Flatten's start_dim. Some versions of sinabs wrote 1, torch's, with a batch.
        batch: Parameters of the neurons have the batch axis of the sample, as some versions did.
    """
    r = np.random.default_rng(2)
    lead = (1,) if batch else ()

    def conv(out: int, into: int, kernel: int, stride: int, size: int) -> nir.Conv2d:
        weight = r.normal(0.1, 1.0, (out, into, kernel, kernel)) / (0.2 * into * kernel)
        bias = np.zeros(out, np.float32)
        area = (size, size)
        return nir.Conv2d(area, weight.astype(np.float32), stride, 1, 1, 1, bias)

    def affine(out: int, into: int) -> nir.Affine:
        weight = r.normal(0.02, 1.0, (out, into)) / np.sqrt(into)
        return nir.Affine(weight.astype(np.float32), np.zeros(out, np.float32))

    def fires(*shape: int) -> nir.IF:
        one = np.ones((*lead, *shape), np.float32)
        return nir.IF(r=one, v_threshold=one)

    pool = (np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    layers = [
        conv(16, 2, 5, 2, 34), fires(16, 16, 16),
        conv(16, 16, 3, 1, 16), fires(16, 16, 16), nir.SumPool2d(*pool),
        conv(8, 16, 3, 1, 8), fires(8, 8, 8), nir.SumPool2d(*pool),
        nir.Flatten({"input": np.array([8, 4, 4])}, flatten_from, -1),
        affine(256, 128), fires(256),
        affine(10, 256), fires(10),
    ]  # fmt: skip
    return chain({str(i): node for i, node in enumerate(layers)}, [2, 34, 34], [10])


Form = Literal["flat", "flattened", "nested", "renamed", "unlooped"]


def braille(
    form: Form = "flat",
    *,
    bias: bool = True,
    recurrent_bias: bool = False,
    hidden: int = 38,
    entry: Any = (12,),
) -> nir.NIRGraph:
    """03_rnn/braille*.nir: 12 taxels, a recurrent layer of CubaLIF, 7 letters; by snnTorch.

    Args:
        form: ``flat``: lif1.lif and lif1.w_rec side by side (braille.nir). ``flattened``: the same
            as lif1 and w_rec (braille_flattened.nir, for SpiNNaker2). ``nested``: lif1 is a graph
            (braille_*_subgraph.nir, and what snnTorch 1.0 exports). ``renamed``: its nodes are
            lif1.input, lif1.lif ... inside, too (snnTorch's importer makes those). ``unlooped``:
            the edge that closes the loop was lost (braille_v2.nir, exported again after import).
        bias: Whether the layers have one: braille_noDelay_bias_zero does, noBias_subtract does not.
        recurrent_bias: Whether that of the recurrent layer is not zero, as in the oldest versions.
        hidden: 38 neurons for reset to zero, 55 for reset by subtraction.
        entry: The shape of the input; older versions wrote a sample's, with steps or a batch.
    """
    r = np.random.default_rng(7)

    def layer(out: int, into: int, scale: float) -> Any:
        weight = (r.normal(0.01, scale, (out, into))).astype(np.float32)
        if not bias:
            return nir.Linear(weight)
        return nir.Affine(weight, r.normal(0, 0.02, out).astype(np.float32))

    def fires(size: int, alpha: float, beta: float) -> nir.CubaLIF:
        one = np.ones(size)
        tau_syn, tau_mem = DT / (1 - alpha) * one, DT / (1 - beta) * one
        return nir.CubaLIF(
            tau_syn, tau_mem, r=tau_mem / DT, v_leak=0 * one, v_threshold=one, w_in=tau_syn / DT
        )

    fc1, lif, w_rec = layer(hidden, 12, 0.15), fires(hidden, 0.55, 0.9), layer(hidden, hidden, 0.05)
    if bias and not recurrent_bias:
        w_rec.bias[:] = 0
    fc2, lif2 = layer(7, hidden, 0.2), fires(7, 0.5, 0.55)
    ports = {"input": nir.Input(np.array(entry)), "output": nir.Output(np.array([7]))}
    outer = [("fc1", "lif1"), ("lif1", "fc2")]
    if form in ("nested", "renamed"):
        name = {
            n: f"lif1.{n}" if form == "renamed" else n for n in ("input", "lif", "w_rec", "output")
        }
        inner = nir.NIRGraph(
            {
                name["input"]: nir.Input(np.array([hidden])),
                name["lif"]: lif,
                name["w_rec"]: w_rec,
                name["output"]: nir.Output(np.array([hidden])),
            },
            [
                (name["input"], name["lif"]),
                (name["lif"], name["w_rec"]),
                (name["w_rec"], name["lif"]),
                (name["lif"], name["output"]),
            ],
            type_check=False,
        )
        middle: dict[str, Any] = {"lif1": inner}
        loop: list[tuple[str, str]] = []
    else:
        a, w = ("lif1", "w_rec") if form == "flattened" else ("lif1.lif", "lif1.w_rec")
        middle = {a: lif, w: w_rec}
        outer = [("fc1", a), (a, "fc2")]
        loop = [(a, w)] if form == "unlooped" else [(a, w), (w, a)]
    edges = [("input", "fc1"), *outer, *loop, ("fc2", "lif2"), ("lif2", "output")]
    nodes = {**ports, "fc1": fc1, **middle, "fc2": fc2, "lif2": lif2}
    return nir.NIRGraph(nodes, edges, type_check=False)
