"""Tensors that a forward keeps on its modules: state that the graph would not have.

A forward is traced once, and ``self.mem = self.mem * 0.5 + x`` would be captured as if no step came
before. What a forward has left on its modules is therefore replaced by something that nobody
can compute with, and the forward is traced again: if it reads that, it remembers.
"""

from __future__ import annotations

from typing import Any, NoReturn

from torch import fx, nn

from purespike.trainer.capture.conversions import CaptureError

__all__ = ["Remembered", "mark_kept"]


class Remembered:
    """In the place of a tensor that was kept: refuses whatever is done with it."""

    def __init__(self, path: str, name: str) -> None:
        self.path, self.name = path, name

    def _refuse(self, *arguments: Any, **named: Any) -> NoReturn:
        raise CaptureError(
            "a forward goes on from a tensor that it kept at its last call",
            where=self.path or "the model",
            found=f"self.{self.name}",
            allowed="membranes of neurons; tensors that every forward makes anew",
            remedy="use a neuron (purespike.nn, SpikingJelly, snnTorch), or go through the steps "
            "in forward, with neurons that keep the state",
        )

    __getattr__ = __getitem__ = __len__ = __iter__ = __bool__ = __neg__ = __float__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __iadd__ = __isub__ = __imul__ = __itruediv__ = _refuse

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any, kwargs: Any = None) -> Any:
        next(a for a in args if isinstance(a, cls))._refuse()


def mark_kept(model: nn.Module) -> bool:
    """Replace what a trace has left on modules; was there anything?"""
    found = False
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, fx.Proxy):
                vars(module)[name] = Remembered(path, name)
                found = True
    return found
