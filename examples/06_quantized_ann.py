"""A network quantized by Brevitas becomes spikes and additions without any loss.

python examples/06_quantized_ann.py

A file that Brevitas exported (QONNX) is compiled likewise: `ps.compile("net.onnx", data="test.npz",
host_encoder=True)`. Needs Brevitas, and scikit-learn for its digits.
"""

import brevitas.nn as qnn
import torch
from brevitas.quant import Int8WeightPerTensorFloat, Uint8ActPerTensorFloat
from sklearn.datasets import load_digits
from torch import Tensor, nn

import purespike as ps


def network() -> nn.Module:
    """Two layers of 4-bit weights, between activations of 2 bits: four levels."""
    levels = {"bit_width": 2, "return_quant_tensor": True}
    weights = {"weight_quant": Int8WeightPerTensorFloat, "weight_bit_width": 4, "bias": False}
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=Uint8ActPerTensorFloat, **levels),
        qnn.QuantLinear(64, 48, **weights),
        qnn.QuantReLU(**levels),
        qnn.QuantLinear(48, 10, **weights),
    )


def train(net: nn.Module, images: Tensor, labels: Tensor) -> None:
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(150):
        loss = nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        optimizer.step()


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # it is small
    x, y = load_digits(return_X_y=True)
    images, labels = torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y)
    test = torch.arange(len(y)) % 5 == 0
    net = network()
    train(net, images[~test], labels[~test])
    net.eval()
    right = (net(images[test]).argmax(1) == labels[test]).double().mean().item()
    print(f"quantized ANN in torch: {100 * right:.2f} %")
    # One time step. The host compares each pixel with a few thresholds; the rest is on the chip.
    samples = ps.Samples(images[None, test], labels[test])
    build = ps.compile(net, samples, host_encoder=True, lava_samples=8)
    print(build.headline)
    for line in build.report.accuracy:
        print(f"{line.stage}: {line.correct} of {line.n}")


if __name__ == "__main__":
    main()
