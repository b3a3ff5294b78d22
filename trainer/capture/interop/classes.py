"""Which class of another framework a module is, by the path of its class."""

from __future__ import annotations

from torch import nn

from purespike.trainer.capture.interop import sinabs, snntorch, spikingjelly

_SPACES = (spikingjelly.NEURON, spikingjelly.LAYER, snntorch.NEURON, sinabs.NEURON)


def framework_class(module: nn.Module) -> type | None:
    """The first class of a module that stands among a framework's layers and neurons."""
    for cls in type(module).__mro__:
        if _space(cls):
            return cls
    return None


def known_class(module: nn.Module) -> tuple[str, str]:
    """(namespace, name) of that class; two empty words where there is none."""
    cls = framework_class(module)
    return ("", "") if cls is None else (_space(cls), cls.__name__)


def _space(cls: type) -> str:
    return next((s for s in _SPACES if f"{cls.__module__}.".startswith(f"{s}.")), "")
