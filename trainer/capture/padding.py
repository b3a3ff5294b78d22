"""A batch norm that pads a map with what it makes of zeros: ``BNAndPadLayer`` of RepConv.

Code in the style of RepVGG (Spike-driven Transformer V2 and V3, SpikeYOLO) has it between a 1x1 and
a depthwise 3x3 convolution, so that all of them are one convolution of the padded input. It is the
same as zeros around the map in front of the batch norm, which a convolution with padding says.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from purespike.compiler.ir import ops
from purespike.compiler.ir.graph import Op
from purespike.trainer.capture.conversions import CONVERSIONS

_CLOSE = 1e-12


def padded_norm(module: nn.Module) -> list[tuple[str, Op]] | None:
    """The operations of such a module: by its parts, and by what it makes of numbers.

    Args:
        module: Any; None comes back unless its only part is a BatchNorm2d, it has a number
            ``pad_pixels``, and its forward is that batch norm of the padded map.
    """
    parts, pixels = list(module.children()), getattr(module, "pad_pixels", None)
    if len(parts) != 1 or type(parts[0]) is not nn.BatchNorm2d or type(pixels) is not int:
        return None
    norm = parts[0]
    if list(module.parameters(recurse=False)) or norm.running_mean is None or pixels < 0:
        return None
    mine = copy.deepcopy(module).double().eval()
    channels = norm.num_features
    x = torch.randn((2, channels, 5, 6), generator=torch.Generator().manual_seed(0)).double()
    try:
        with torch.no_grad():
            made = mine(x.clone())
            wanted = next(mine.children())(functional.pad(x, [pixels] * 4))
    except Exception:  # whatever else it is: its forward is traced
        return None
    if made.shape != wanted.shape or not torch.allclose(made, wanted, rtol=_CLOSE, atol=_CLOSE):
        return None
    after = CONVERSIONS[nn.BatchNorm2d](norm, (channels, 1, 1), 0, "")
    if not pixels:
        return after
    kernel = np.ones((channels, 1, 1, 1))
    around = ops.Conv2d(kernel, padding=(pixels, pixels), groups=channels)
    return [(".pad", around), *after]
