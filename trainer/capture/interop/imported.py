"""A model of another framework as a module on sequences, which trains, runs and is captured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from purespike.trainer.capture.interop import snntorch, spikingjelly
from purespike.trainer.capture.interop.classes import known_class
from purespike.trainer.errors import ConfigError
from purespike.trainer.nn.pointwise import safe_pointwise

__all__ = ["Imported", "Spikes"]


class Spikes(nn.Module):
    """The spikes of what a model returns: the first of (spikes, state)."""

    def forward(self, x: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Leave out the state."""
        return x[0] if isinstance(x, tuple) else x


class Imported(nn.Module):
    """A SpikingJelly or snnTorch model on sequences (T, B, ...), at rest before each of them.

    Its neurons keep their state from one call to the next; here every forward starts by resetting
    them. A model for single steps (all of snnTorch, step_mode 's' of SpikingJelly) is called once
    a step on (B, ...), one of step_mode 'm' once on the sequence. In the graph time is implicit,
    so that both are captured alike.

    Args:
        model: called with one tensor; returns one, or a tuple whose first it is.

    Attributes:
        stepwise: whether the model takes single steps.

    Raises:
        ConfigError: if its neurons do not agree about that.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.spikes = Spikes()
        modes = set(_step_modes(model))
        if len(modes) > 1:
            raise ConfigError(
                "the neurons of the model do not agree on what they are called with",
                found="step_mode 's' and 'm'",
                allowed="one step_mode in all of the model",
                where=type(model).__name__,
                remedy="spikingjelly.activation_based.functional.set_step_mode(model, 'm')",
            )
        self.stepwise = modes != {"m"}
        reset(model)

    def forward(self, x: Tensor) -> Tensor:
        """What the model makes of (T, B, ...), with a time axis in front."""
        if isinstance(x, fx.Proxy):  # of capture: time is implicit
            return self._spikes(x)
        reset(self.model)
        try:
            with _spikes_in(self.model, x.dtype), safe_pointwise():
                return (
                    torch.stack([self._spikes(s) for s in x]) if self.stepwise else self._spikes(x)
                )
        finally:  # what is left of a membrane could not be copied, for capture among others
            reset(self.model)

    def _spikes(self, x: Tensor) -> Tensor:
        result: Tensor = self.spikes(self.model(x))
        return result


def reset(model: nn.Module) -> None:
    """Bring all neurons of other frameworks to rest."""
    for part in model.modules():
        module: Any = part
        if hasattr(module, "_memories_rv"):  # whatever SpikingJelly gives a memory
            module.reset()
        elif known_class(module)[0] == snntorch.NEURON and hasattr(module, "reset_mem"):
            module.reset_mem()


def _step_modes(model: nn.Module) -> Iterator[str]:
    """Of the neurons and containers that no container is around."""
    space, name = known_class(model)
    if space == snntorch.NEURON:
        yield "s"
    elif space == spikingjelly.NEURON or name in spikingjelly.CONTAINERS:
        yield str(getattr(model, "step_mode", "m"))
    else:
        for child in model.children():
            yield from _step_modes(child)


@contextmanager
def _spikes_in(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """The same type everywhere: snnTorch makes float32 spikes of membranes of any type."""

    def cast(module: nn.Module, args: Any, out: Any) -> Any:
        if isinstance(out, tuple):
            return (out[0].to(dtype), *out[1:])
        return out.to(dtype)

    neurons = [m for m in model.modules() if known_class(m)[0] == snntorch.NEURON]
    handles = [m.register_forward_hook(cast) for m in neurons]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
