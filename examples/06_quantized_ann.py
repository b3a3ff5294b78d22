"""A quantized network, as Brevitas writes it, becomes spikes and additions without any loss.

python examples/06_quantized_ann.py [NETWORK.onnx DATA.npz]

Without arguments a network of 2-bit activations and 4-bit weights is trained on digits in plain
torch, and written as a QONNX file: the nodes are those of `brevitas.export.export_qonnx`.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from torch import Tensor, nn

import purespike as ps

DOMAIN = "qonnx.custom_op.general"
BITS = 2


def rounded(x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """Whole numbers of a scale; the gradient passes as if nothing were rounded."""
    whole = (x / scale).clamp(low, high)
    return (whole + (whole.round() - whole).detach()) * scale


class Net(nn.Module):
    """Two layers, each with one scale for its weights and one for its activations."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 48), nn.Linear(48, 10)
        self.scales = nn.Parameter(torch.tensor([1 / 3, 1.0]))

    def layer(self, k: int) -> nn.Linear:
        """The first or the second."""
        return (self.first, self.second)[k]

    def weight(self, k: int) -> tuple[Tensor, Tensor]:
        """A layer's quantized weights, and their scale."""
        weight = self.layer(k).weight
        scale = weight.detach().abs().max() / 7
        return rounded(weight, scale, -7, 7), scale

    def forward(self, x: Tensor) -> Tensor:
        """(B, 64) to logits (B, 10)."""
        for k in range(2):
            x = rounded(x, self.scales[k], 0, 2**BITS - 1)
            x = nn.functional.linear(x, self.weight(k)[0], self.layer(k).bias)
        return x


def write(net: Net, path: Path) -> None:
    """As QONNX: a Quant node in front of each layer, and one for its weights."""
    nodes: list[onnx.NodeProto] = []
    constants: list[TensorProto] = []
    x = "image"

    def constant(value: object) -> str:
        name = f"c{len(constants)}"
        constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def quant(tensor: str, scale: Tensor, bits: int, signed: int, name: str) -> str:
        inputs = [tensor, constant(scale.detach()), constant(0), constant(bits)]
        rest = {"signed": signed, "narrow": signed, "rounding_mode": "ROUND"}
        nodes.append(helper.make_node("Quant", inputs, [name], name, domain=DOMAIN, **rest))
        return name

    for k in range(2):
        x = quant(x, net.scales[k], BITS, 0, f"act{k}")
        layer = net.layer(k)
        weight = quant(constant(layer.weight.detach()), net.weight(k)[1], 4, 1, f"weight{k}")
        out = "logits" if k else "sum"
        inputs = [x, weight, constant(layer.bias.detach())]
        nodes.append(helper.make_node("Gemm", inputs, [out], out, transB=1))
        x = out
    ends = [("image", 64), ("logits", 10)]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, s]) for n, s in ends]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:], constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)


def trained(folder: Path) -> tuple[Path, Path]:
    """A trained network and its test images, as files."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # it is small
    x, y = load_digits(return_X_y=True)
    images, labels = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    test = torch.arange(len(y)) % 5 == 0
    net = Net()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(150):
        loss = nn.functional.cross_entropy(net(images[~test]), labels[~test])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        optimizer.step()
    accuracy = (net(images[test]).argmax(1) == labels[test]).double().mean().item()
    print(f"quantized ANN in torch: {100 * accuracy:.2f} %")
    write(net, folder / "net.onnx")
    np.savez(folder / "test.npz", inputs=images[test][None].numpy(), labels=y[test.numpy()])
    return folder / "net.onnx", folder / "test.npz"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        given = [Path(a) for a in sys.argv[1:3]]
        network, data = given if len(given) == 2 else trained(Path(folder))
        # The host compares each pixel with a few thresholds; everything else is on the chip.
        build = ps.compile(network, data=data, host_encoder=True, lava_samples=8)
        print(build.headline)
        for line in build.report.accuracy:
            print(f"{line.stage}: {line.correct} of {line.n}")


if __name__ == "__main__":
    main()
