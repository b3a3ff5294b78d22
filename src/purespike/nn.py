"""What spiking networks are built with, beside ``torch.nn``: neurons, gates, layers, encoders.

Every module here takes (T, B, ...), and captures to one node or two of the compiler's graph.

>>> import torch
>>> from purespike import nn
>>> layer = torch.nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.IF())
>>> layer(torch.ones(4, 1, 2, 8, 8)).shape  # T = 4
torch.Size([4, 1, 8, 8, 8])
"""

from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.nn.auxiliary import (
    AapAvgPool,
    AapDownsample,
    AapMaxPool,
    Accumulate,
    AuxiliaryLinear,
    ShortcutBranch,
)
from purespike.trainer.nn.encoders import encode
from purespike.trainer.nn.gates import Add, And, Iand, Or, Xor
from purespike.trainer.nn.layers import (
    AdaptiveMaxPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv1d,
    Conv2d,
    Flatten,
    GlobalAvgPool2d,
    MaxPool2d,
    ThresholdBatchNorm2d,
    TimeMean,
)
from purespike.trainer.nn.levels import ILIF, LevelActivation
from purespike.trainer.nn.neuron import IF, LIF, PLIF, Neuron
from purespike.trainer.nn.spiking import spike_kernels
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

__all__ = [
    "IF",
    "ILIF",
    "LIF",
    "PLIF",
    "ATan",
    "AapAvgPool",
    "AapDownsample",
    "AapMaxPool",
    "Accumulate",
    "AdaptiveMaxPool2d",
    "Add",
    "And",
    "AuxiliaryLinear",
    "AvgPool2d",
    "BatchNorm2d",
    "Conv1d",
    "Conv2d",
    "FastSigmoid",
    "Flatten",
    "GlobalAvgPool2d",
    "Iand",
    "Imported",
    "LevelActivation",
    "MaxPool2d",
    "Neuron",
    "Or",
    "PiecewiseQuadratic",
    "Rectangular",
    "Shaped",
    "ShortcutBranch",
    "Sigmoid",
    "Surrogate",
    "Tanh",
    "ThresholdBatchNorm2d",
    "TimeMean",
    "Triangular",
    "Xor",
    "encode",
    "spike_kernels",
]
