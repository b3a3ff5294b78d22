"""Networks and data as users bring them: named by their dotted path, ``helpers.own_networks:x``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from purespike.trainer.nn.layers import BatchNorm2d, Conv2d, Flatten, TimeMean
from purespike.trainer.nn.neuron import IF, LIF

STEPS, SIDE, CLASSES = 4, 8, 4
SHAPE = (1, SIDE, SIDE)


def block(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalization, neuron."""
    return nn.Sequential(
        Conv2d(channels, out, 3, stride=stride, padding=1, bias=False), BatchNorm2d(out), IF()
    )


class Images(nn.Module):
    """Three blocks, a classifier with dropout on the mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = block(1, 4)
        self.layer2 = block(4, 4, 2)
        self.layer3 = block(4, 6, 2)
        self.flat = Flatten()
        self.readout = nn.Sequential(TimeMean(), nn.Dropout(0.2))
        self.fc = nn.Linear(24, CLASSES)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of spikes (T, B, C, H, W)."""
        fc: Tensor = self.fc(self.readout(self.flat(self.layer3(self.layer2(self.layer1(x))))))
        return fc


class Vectors(nn.Module):
    """Linear layers; a neuron at the end, whose rates are the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = Flatten()
        self.fc1 = nn.Linear(64, 12)
        self.lif1 = LIF(threshold=0.3)
        self.fc2 = nn.Linear(12, 8)
        self.lif2 = LIF(threshold=0.3)
        self.fc3 = nn.Linear(8, CLASSES)
        self.lif3 = IF()

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (T, B, K)."""
        x = self.lif1(self.fc1(self.flatten(x)))
        out: Tensor = self.lif3(self.fc3(self.lif2(self.fc2(x))))
        return out


class Twice(Images):
    """One convolution runs twice, and a block puts out what nothing reads."""

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K)."""
        x = self.layer2(self.layer1(x))
        self.layer3(x)
        x = self.layer3[0](x)
        fc: Tensor = self.fc(self.readout(self.flat(x)))
        return fc


class Heads(Images):
    """Returns heads of its own."""

    def forward(self, x: Tensor) -> Mapping[str, Tensor]:  # type: ignore[override]
        """Logits by head."""
        main = super().forward(x)
        return {"main": main, "shortcut.0": main}


def quadrants(samples: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Spikes (T, N, 1, 8, 8), dense in one of four quadrants, and which it is (N,)."""
    r = np.random.default_rng(seed)
    labels = np.arange(samples) % CLASSES
    rates = np.full((samples, SIDE, SIDE), 0.1)
    for image, label in zip(rates, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0.7
    spikes = r.random((STEPS, samples, 1, SIDE, SIDE)) < rates[None, :, None]
    return spikes.astype(np.uint8), labels


class Recordings(Dataset[tuple[Tensor, int]]):
    """The same, as a data set of torch."""

    def __init__(self, samples: int = 80, seed: int = 0) -> None:
        self.spikes, self.labels = quadrants(samples, seed)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Sample (T, 1, 8, 8) and its label."""
        return torch.from_numpy(self.spikes[:, index]), int(self.labels[index])


def pair() -> tuple[Recordings, Recordings]:
    """Training and test samples."""
    return Recordings(80), Recordings(20, seed=1)


def jelly(mode: str = "m") -> nn.Module:
    """A network of SpikingJelly's layers and neurons."""
    from spikingjelly.activation_based import functional, layer, neuron

    model = nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1, bias=False),
        layer.BatchNorm2d(4),
        neuron.IFNode(detach_reset=True),
        layer.Conv2d(4, 6, 3, stride=2, padding=1, bias=False),
        layer.BatchNorm2d(6),
        neuron.LIFNode(tau=2.0, decay_input=False, detach_reset=True),
        layer.Flatten(),
        layer.Linear(96, CLASSES),
        neuron.IFNode(v_threshold=0.2, detach_reset=True),
    )
    functional.set_step_mode(model, mode)
    return model


def jelly_stepwise() -> nn.Module:
    """The same, called once per step."""
    return jelly("s")


class Snn(nn.Module):
    """A network of snnTorch, called once per step."""

    def __init__(self) -> None:
        super().__init__()
        import snntorch

        self.fc1 = nn.Linear(64, 16)
        self.lif1 = snntorch.Leaky(0.9, threshold=0.5, init_hidden=True)
        self.fc2 = nn.Linear(16, 16)
        self.lif2 = snntorch.Leaky(0.9, threshold=0.5, init_hidden=True)
        self.fc3 = nn.Linear(16, CLASSES)
        self.lif3 = snntorch.Leaky(0.9, threshold=0.2, init_hidden=True)

    def forward(self, x: Tensor) -> Tensor:
        """Spikes (B, K) of one step (B, C, H, W)."""
        x = self.lif2(self.fc2(self.lif1(self.fc1(torch.flatten(x, 1)))))
        out: Tensor = self.lif3(self.fc3(x))
        return out
