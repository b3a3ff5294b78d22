"""What a child process does on a processor that has been narrowed to AVX2.

Prints what went wrong, or nothing; oneDNN prints the primitives that it ran in between.
"""

import itertools

import torch
from torch import Tensor
from torch.nn import functional

from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build
from purespike.trainer.nn.layers import Conv2d
from purespike.trainer.training.losses import total_loss

LAST, PLAIN = torch.channels_last, torch.contiguous_format


def layer_gradients(layer: Conv2d, x: Tensor, weights: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    out = layer(x)
    (out * weights[:, :, :, : out.shape[3], : out.shape[4]]).sum().backward()
    return [out, x.grad, layer.weight.grad, layer.bias.grad]


def plain_gradients(layer: Conv2d, x: Tensor, weights: Tensor) -> list[Tensor]:
    """Of torch's convolution in float64, which oneDNN does not have."""
    x = x.double().clone().requires_grad_()
    weight, bias = (p.detach().double().requires_grad_() for p in (layer.weight, layer.bias))
    out = functional.conv2d(
        x.flatten(0, 1), weight, bias, layer.stride, layer.padding, groups=layer.groups
    ).unflatten(0, x.shape[:2])
    (out * weights[:, :, :, : out.shape[3], : out.shape[4]]).sum().backward()
    return [out, x.grad, weight.grad, bias.grad]


def layers() -> None:
    """Whole numbers, so that every sum is exact in whatever order it is taken."""
    torch.manual_seed(0)
    cases = itertools.product(((2, 3), (4, 6)), (2, (2, 1)), (0, 1), (LAST, PLAIN))
    for (inputs, outputs), stride, padding, form in cases:
        layer = Conv2d(inputs, outputs, 1, stride, padding)
        with torch.no_grad():
            for p in layer.parameters():
                p.copy_(torch.randint(-3, 4, p.shape))
        layer.to(memory_format=form)
        x = (torch.rand(2, 3, inputs, 8, 7) < 0.4).float()
        x = x.flatten(0, 1).contiguous(memory_format=form).unflatten(0, (2, 3))
        weights = torch.randint(-2, 3, (2, 3, outputs, 10, 9)).float()
        found, expected = layer_gradients(layer, x, weights), plain_gradients(layer, x, weights)
        names = ("output", "gradient of x", "gradient of weights", "gradient of bias")
        for name, a, b in zip(names, found, expected, strict=True):
            if a.shape != b.shape or not torch.equal(a.double(), b):
                print("WRONG", name, inputs, outputs, stride, padding, form)


def training() -> None:
    """Five steps in either memory format: the same losses up to rounding."""
    losses = {}
    for form in (PLAIN, LAST):
        model = build(ModelConfig(5, 10, steps=2, stem=4, widths=(4, 6), strides=(2, 1)), seed=0)
        model.train().to(memory_format=form)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        generator = torch.Generator().manual_seed(0)
        losses[form] = []
        for _ in range(5):
            x = (torch.rand(2, 32, 5, 8, 8, generator=generator) < 0.3).float()
            x = x.flatten(0, 1).contiguous(memory_format=form).unflatten(0, (2, 32))
            loss = total_loss(model(x), torch.arange(32) % 10, balance=0.25, fusion="logit")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[form].append(loss.item())
    if not torch.allclose(torch.tensor(losses[PLAIN][0]), torch.tensor(losses[LAST][0]), atol=1e-5):
        print("WRONG losses", losses)
    if not all(torch.isfinite(torch.tensor(values)).all() for values in losses.values()):
        print("WRONG losses", losses)


if __name__ == "__main__":
    torch.set_num_threads(1)
    layers()
    training()
    print("DONE")
