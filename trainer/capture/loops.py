"""A forward that goes through the time steps itself, where one is handed what it does not expect.

A loop around the neurons of other frameworks takes samples for steps if the model is called once a
step already; one around purespike's neurons, which take whole sequences, always does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from purespike.trainer.capture.interop.imported import Imported, Takes
from purespike.trainer.capture.interop.recognize import is_stateful
from purespike.trainer.errors import ConfigError
from purespike.trainer.nn.levels import ILIF
from purespike.trainer.nn.neuron import Neuron

__all__ = ["refuse_loops", "refusing_single_steps"]


@contextmanager
def refusing_single_steps(module: nn.Module, steps: int) -> Iterator[None]:
    """Look at purespike's neurons while ``module`` runs on (T, B, ...); B must not be T.

    Raises:
        ConfigError: Behind the run, if one of them was called once a step.
    """
    single: Counter[str] = Counter()

    def looking(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[object, ...]) -> None:
            x = inputs[0] if inputs else None
            if isinstance(x, Tensor) and x.dim() and len(x) != steps:
                single[name] += 1

        return hook

    neurons = [(n, m) for n, m in module.named_modules() if isinstance(m, Neuron | ILIF)]
    hooks = [m.register_forward_pre_hook(looking(n)) for n, m in neurons]
    failed: Exception | None = None
    try:
        yield
    except Exception as e:  # whatever the user's code does: the loop may be why
        failed = e
    finally:
        for hook in hooks:
            hook.remove()
    name = next((n for n, count in single.items() if count >= max(2, steps)), None)
    if name is not None:
        kind = type(module.get_submodule(name)).__name__
        raise ConfigError(
            "the forward goes through the time steps itself, and purespike's neurons would take "
            "samples for steps",
            where=name or type(module).__name__,
            found=f"{kind} runs {single[name]} times in {steps} steps",
            allowed="neurons that run once, on the whole sequence (T, B, ...)",
            remedy="leave the loop out: all in purespike.nn takes whole sequences, and a layer of "
            "torch.nn that does not, such as Conv2d, has a counterpart there",
        ) from failed
    if failed is not None:
        raise failed


def refuse_loops(wrapped: Imported, shape: tuple[int, ...]) -> None:
    """Raise ConfigError if a forward that is handed single steps has a loop over time of its own.

    It would take the samples for the steps, whose number it sees in front. Neurons that run more
    than once in a step give it away, and so does a model that runs on sequences only.

    Args:
        wrapped: The model behind `Imported`.
        shape: Of its input, at one step of one sample.
    """
    like = next((p for p in wrapped.parameters() if p.is_floating_point()), torch.zeros(()))
    x = (torch.rand((2, 3, *shape), generator=torch.Generator().manual_seed(0)) < 0.5).to(like)
    calls = dict.fromkeys((n for n, m in wrapped.named_modules() if is_stateful(m)), 0)

    def counted(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            calls[name] += 1

        return hook

    modes = {part: part.training for part in wrapped.modules()}
    hooks = [wrapped.get_submodule(n).register_forward_hook(counted(n)) for n in calls]
    wrapped.eval()
    try:
        ran = _runs(wrapped, x)
        often = next((n for n, count in calls.items() if ran and count > len(x)), "")
        looped = bool(often) or (not ran and _runs(wrapped, x, "sequence"))
    finally:
        for hook in hooks:
            hook.remove()
        for part, training in modes.items():
            part.training = training
    if looped:
        raise ConfigError(
            "the forward goes through the time steps itself, and would take samples for steps",
            where=type(wrapped.model).__name__,
            found=f"{often} runs {calls[often]} times where the forward is called for {len(x)} "
            f"steps of {x.shape[1]} samples"
            if often
            else "it runs on a sequence (T, B, ...), not on a step (B, ...)",
            allowed="a forward of one step, (B, ...) to (B, K)",
            remedy="leave the loop out of the forward: it is called once a step, and its neurons "
            "keep their states; or keep it, and wrap the model where it is made: "
            "purespike.nn.Imported(model, takes='sequence')",
        )


def _runs(wrapped: Imported, x: Tensor, takes: Takes | None = None) -> bool:
    try:
        with torch.no_grad():
            (wrapped if takes is None else Imported(wrapped.model, takes))(x)
    except Exception:  # whatever the user's code does: whoever runs it for a result says it
        return False
    return True
