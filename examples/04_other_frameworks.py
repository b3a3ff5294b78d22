"""A model of snnTorch and one of SpikingJelly, compiled as they are.

python examples/04_other_frameworks.py
"""

import numpy as np
import snntorch
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

import purespike as ps


class Tutorial(nn.Module):
    """One time step: two layers of leaky neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif1 = nn.Linear(36, 16), snntorch.Leaky(beta=0.75)
        self.fc2, self.lif2 = nn.Linear(16, 4), snntorch.Leaky(beta=0.75)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 36) spikes to (B, 4) spikes."""
        spikes, _ = self.lif1(self.fc1(x))
        fired: Tensor = self.lif2(self.fc2(spikes))[0]
        return fired


def main() -> None:
    torch.manual_seed(0)
    convolutions = nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1), neuron.IFNode(), layer.Flatten(), layer.Linear(144, 4)
    )
    functional.set_step_mode(convolutions, "m")
    x = np.random.default_rng(0).random((10, 16, 36)) < 0.4  # (T, B, ...)
    images = x.reshape(10, 16, 1, 6, 6)
    for name, model, inputs in (
        ("snnTorch", Tutorial(), x),
        ("SpikingJelly", convolutions, images),
    ):
        build = ps.compile(model, ps.Samples(inputs), name=name, policy="leaky", lava="none")
        print(build)
        print(build.simulate(inputs))


if __name__ == "__main__":
    main()
