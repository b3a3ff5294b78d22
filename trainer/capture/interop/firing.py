"""When does a neuron of another framework fire?"""

from __future__ import annotations

from typing import Any

import torch

_PROBE = (-2.0, -0.3, -1e-30, 0.0, 1e-30, 0.3, 2.0)


def fires(surrogate: Any, *, at_zero: bool) -> bool:
    """Is a surrogate's forward the step function, 1 above zero, and at zero where asked?

    One that is smooth there (SpikingJelly's ``spiking=False``, for gradient checks) makes no
    spikes.
    """
    x = torch.tensor(_PROBE)
    with torch.no_grad():
        spikes = surrogate(x.clone())
    return torch.equal(spikes.float(), (x >= 0 if at_zero else x > 0).float())
