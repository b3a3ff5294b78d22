"""QONNX files as Brevitas and the qonnx wheel have them, against qonnx's own executor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from helpers.qonnx_cases import carried, executed
from numpy.typing import NDArray
from onnx import ModelProto, helper
from sklearn.datasets import load_digits

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import run
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.compiler.quantized.exact import collapsed
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.quantized.read import is_quantized, read_quantized, understood

FILES = Path(__file__).resolve().parents[1] / "data" / "qonnx"


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    x, y = load_digits(return_X_y=True)
    held_out = np.arange(len(y)) % 5 == 0
    return (x[held_out] / 16).reshape(-1, 1, 8, 8).astype(np.float32), y[held_out]


def differing(model: ModelProto, x: NDArray[np.float32]) -> tuple[int, int, int]:
    """(levels compared, those that are another level in the executor, decisions that differ)."""
    graph, tensors = understood(model)
    ours = carried(graph, tensors, x)
    theirs = [executed(model, sample[None]) for sample in x]
    compared = different = 0
    for name in set(ours) & set(theirs[0]):
        factor, _ = collapsed(tensors[name].steps) or (np.ones(()), 0)
        half = min(abs(float(f)) for f in factor.ravel()) / 2
        reference = np.concatenate([t[name] for t in theirs])
        compared += reference.size
        different += int((np.abs(ours[name] - reference) > half).sum())
    (output,) = [v.name for v in model.graph.output if v.name in tensors]
    decided = np.concatenate([t[output] for t in theirs]).reshape(len(x), -1).argmax(1)
    return (
        compared,
        different,
        int((ours["readout"].reshape(len(x), -1).argmax(1) != decided).sum()),
    )


@pytest.mark.parametrize("name", ["digits_cnn_2bit", "digits_residual_3bit"])
def test_brevitas_files_give_qonnx_levels(name: str) -> None:
    x, _ = digits()
    compared, different, decisions = differing(onnx.load(FILES / f"{name}.onnx"), x[:40])
    assert compared > 20_000 and different == 0 and decisions == 0


@pytest.mark.parametrize(
    ("name", "right"), [("digits_cnn_2bit", 346), ("digits_residual_3bit", 334)]
)
def test_compiled_integers_are_the_levels_of_the_file(name: str, right: int) -> None:
    x, y = digits()
    graph = read_quantized(FILES / f"{name}.onnx")
    pipeline = standard_pipeline(host_encoder=True, quantized=True)
    built = compile_graph(graph, pipeline, x[None, :8].astype(np.float64))
    assert set(built.scales.values()) == {1.0}  # nothing was rounded
    both = [readout(g, x) for g in (graph, built.graph)]
    assert np.array_equal(*both)
    assert int((both[0].argmax(1) == y).sum()) == right


def readout(graph: Graph, x: NDArray[np.float32]) -> NDArray[np.float64]:
    (name,) = graph.outputs
    found: NDArray[np.float64] = run(graph, x[None].astype(np.float64), record={name}).values[name][
        0
    ]
    return found


def test_with_inputs_of_0_and_1_nothing_runs_on_the_host() -> None:
    model = onnx.load(FILES / "digits_cnn_2bit.onnx")
    x = (digits()[0][:8] > 0.5).astype(np.float32)
    graph, _ = understood(model, domain=SPIKE)
    pipeline = standard_pipeline(quantized=True)
    built = compile_graph(graph, pipeline, x[None].astype(np.float64)).graph
    assert not any(n.role == "host" for n in built.nodes)
    theirs = np.concatenate([executed(model, sample[None])["logits"] for sample in x])
    assert np.array_equal(readout(built, x).argmax(1), theirs.argmax(1))


def wheel(name: str) -> Path:
    import qonnx

    return Path(qonnx.__file__).parent / "data" / "onnx" / name


def espcn(size: int) -> ModelProto:
    """The super-resolution network of the qonnx wheel, for images of another size.

    Its last three nodes rearrange and round the image: the refusal says to let the host do that.
    """
    model = onnx.load(wheel("bsd300x3-espcn/subpixel/quant_model.onnx"))
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = size
    last = [n.op_type for n in model.graph.node].index("DepthToSpace")
    output = model.graph.node[last].input[0]
    del model.graph.node[last:], model.graph.output[:], model.graph.value_info[:]
    kind = int(onnx.TensorProto.FLOAT)
    model.graph.output.append(helper.make_tensor_value_info(output, kind, [1, 12, size, size]))
    return model


def test_espcn_of_the_wheel_gives_qonnx_levels() -> None:
    x = np.random.default_rng(0).random((2, 3, 8, 8)).astype(np.float32)
    compared, different, _ = differing(espcn(8), x)
    assert compared > 20_000 and different == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("floatquant_exec/qonnx_act_weight_fp8.onnx", "FloatQuant"),
        ("bsd300x3-espcn/nn_resize/quant_model.onnx", "Resize"),
    ],
)
def test_what_the_wheel_has_beside_is_refused_by_name(name: str, message: str) -> None:
    assert is_quantized(wheel(name))
    with pytest.raises(OnnxError, match=message) as e:
        read_quantized(wheel(name))
    assert "node " in e.value.where and e.value.remedy


def test_networks_in_floats_are_no_quantized_ones() -> None:
    assert not is_quantized(wheel("mnist-conv/model.onnx"))
    assert not is_quantized(wheel("residual_block_clean.onnx"))
