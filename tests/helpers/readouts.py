"""Networks whose output is read in one of the ways of `purespike.trainer.capture.readout`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from purespike.trainer.nn.layers import Flatten
from purespike.trainer.nn.neuron import IF

FEATURES, CLASSES = 64, 4


def linear() -> nn.Module:
    """Ends in a linear layer."""
    hidden = nn.Linear(FEATURES, 12), IF(threshold=0.3)
    return nn.Sequential(Flatten(), *hidden, nn.Linear(12, CLASSES))


def jelly(end: Any = None, mode: str = "m") -> nn.Module:
    """The same of SpikingJelly, perhaps with a neuron behind it."""
    from spikingjelly.activation_based import functional, layer, neuron

    model = nn.Sequential(
        layer.Flatten(),
        layer.Linear(FEATURES, 12),
        neuron.IFNode(v_threshold=0.3),
        layer.Linear(12, CLASSES),
        *([] if end is None else [end(neuron)]),
    )
    functional.set_step_mode(model, mode)
    return model


def jelly_stepwise() -> nn.Module:
    """The same, called once per step."""
    return jelly(mode="s")


def jelly_membrane() -> nn.Module:
    """Ends in a neuron that never fires."""
    return jelly(lambda neuron: neuron.NonSpikingLIFNode(tau=2.0, decode="last_mem"))


def jelly_spikes() -> nn.Module:
    """Ends in a neuron that fires."""
    return jelly(lambda neuron: neuron.IFNode(v_threshold=0.3))


class Snn(nn.Module):
    """The same of snnTorch."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch

        self.fc1, self.lif1 = nn.Linear(FEATURES, 12), snntorch.Leaky(0.8, threshold=0.3)
        self.fc2 = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """One step: (B, ...) to (B, K)."""
        spikes, _ = self.lif1(self.fc1(x.flatten(1)))
        out: Tensor = self.fc2(spikes)
        return out


class SnnMembrane(Snn):
    """Ends in the membrane of a neuron that is never reset."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch

        self.lif2 = snntorch.Leaky(0.5, reset_mechanism="none")

    def forward(self, x: Tensor) -> Tensor:
        """One step."""
        _, membrane = self.lif2(super().forward(x))
        out: Tensor = membrane
        return out


class SnnLoop(Snn):
    """Goes through the steps itself."""

    def forward(self, x: Tensor) -> Tensor:
        """All steps: (T, B, ...) to (T, B, K)."""
        memory = self.lif1.init_leaky()
        out = []
        for step in range(x.size(0)):
            spikes, memory = self.lif1(self.fc1(x[step].flatten(1)), memory)
            out.append(self.fc2(spikes))
        return torch.stack(out)
