"""A model of another framework as a module on sequences, which trains, runs and is captured."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, fx, nn

from purespike.trainer.capture.interop import sinabs, snntorch, spikingjelly
from purespike.trainer.capture.interop.classes import known_class
from purespike.trainer.capture.values import SAMPLES_MERGED, SEQUENCE, STEP
from purespike.trainer.errors import ConfigError
from purespike.trainer.nn.pointwise import safe_pointwise

__all__ = ["Imported", "Spikes", "Takes", "reset"]

Takes = Literal["step", "sequence", "frame", "samples", "flat"]


class Spikes(nn.Module):
    """The spikes of what a model returns: the first of (spikes, state)."""

    def forward(self, x: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Leave out the state."""
        return x[0] if isinstance(x, tuple) else x


class Imported(nn.Module):
    """A SpikingJelly or snnTorch model on sequences (T, B, ...), at rest before each of them.

    Its neurons keep their state from one call to the next; here every forward starts by resetting
    them. In the graph time is implicit, so that all of these are captured alike:

    - ``takes='step'``: the model is called once a step on (B, ...), as snnTorch's neurons are and
      SpikingJelly's in step_mode 's'. If its forward takes states, ``forward(x, *states)``, it
      returns ``(spikes, *states)``, and is handed None at first, what it returned after that.
    - ``takes='sequence'``: it is called once on (T, B, ...): SpikingJelly's step_mode 'm', or a
      forward with a loop over the steps of its own.
    - ``takes='frame'``: it is called once on (B, ...), which it repeats itself: all steps of the
      input have to be equal.
    - ``takes='samples'``, ``'flat'``: it is called once on (B, T, ...), or on (B T, ...), as
      sinabs' neurons are and those of them that are named Squeeze.

    Args:
        model: returns a tensor, or a tuple whose first it is; a list of one tensor a step is
            stacked.
        takes: as above; without it a sequence where its neurons are in step_mode 'm', else a step.

    Attributes:
        takes: what the model takes.
        reads_last: the model puts out the membranes of neurons that never fire, of every step, and
            only the last is read: (B, ...) is returned.

    Raises:
        ConfigError: if its neurons do not agree about that.
    """

    def __init__(self, model: nn.Module, takes: Takes | None = None) -> None:
        super().__init__()
        self.model = model
        self.spikes = Spikes()
        modes = set(_step_modes(model))
        if takes is None and len(modes) > 1:
            raise ConfigError(
                "the neurons of the model do not agree on what they are called with",
                found="step_mode 's' and 'm'",
                allowed="one step_mode in all of the model",
                where=type(model).__name__,
                remedy="spikingjelly.activation_based.functional.set_step_mode(model, 'm'); where "
                "its forward goes through the steps itself, takes='sequence'",
            )
        if takes not in (None, *get_args(Takes)):
            raise ConfigError(
                "a model takes a step, a sequence or a frame",
                found=repr(takes),
                allowed=", ".join(get_args(Takes)),
                where="takes",
            )
        flat = sinabs.is_flat(model)
        if flat is not None and takes is None:
            takes = "flat" if flat else "samples"
        self.takes: Takes = takes or ("sequence" if modes == {"m"} else "step")
        if self.takes != "step" and states_of(model):
            raise ConfigError(
                f"a forward that takes a {self.takes} takes nothing else",
                found=str(inspect.signature(model.forward)),
                allowed="forward(x), other arguments with defaults",
                where=type(model).__name__,
                remedy="give the other arguments defaults, such as num_steps=25",
            )
        self.reads_last = False
        reset(model)

    @property
    def stepwise(self) -> bool:
        """Is the model called once per step?"""
        return self.takes == "step"

    def forward(self, x: Tensor) -> Tensor:
        """What the model makes of (T, B, ...), with a time axis in front or averaged over it."""
        if isinstance(x, fx.Proxy):  # of capture: time is implicit
            return self._traced(x)
        reset(self.model)
        try:
            with _spikes_in(self.model, x.dtype), safe_pointwise():
                made = self._run(x)
        finally:  # what is left of a membrane could not be copied, for capture among others
            reset(self.model)
        timed = made.dim() > 2 and made.shape[:2] == x.shape[:2]
        return made[-1] if self.reads_last and timed else made

    def _run(self, x: Tensor) -> Tensor:
        if self.takes == "sequence":
            return self._spikes(self.model(x))
        if self.takes in ("samples", "flat"):
            return self._samples_first(x)
        return self._spikes(self.model(_frame(x))) if self.takes == "frame" else self._steps(x)

    def _steps(self, x: Tensor) -> Tensor:
        states: tuple[Any, ...] = (None,) * states_of(self.model)
        rows = []
        for step in x:
            made = self.model(step, *states)
            states = made[len(made) - len(states) :] if states else ()
            rows.append(self._spikes(made))
        return torch.stack(rows)

    def _samples_first(self, x: Tensor) -> Tensor:
        turned = x.transpose(0, 1)
        if self.takes == "samples":
            return self._spikes(self.model(turned)).transpose(0, 1)
        sizes = turned.shape[:2]
        for part in self.model.modules():
            if type(part).__name__ in sinabs.FLAT:  # which divide by the sizes that they are told
                part.batch_size, part.num_timesteps = sizes  # type: ignore[assignment]
        made = self._spikes(self.model(turned.flatten(0, 1)))
        return made.reshape(*sizes, *made.shape[1:]).transpose(0, 1)

    def _spikes(self, made: Any) -> Tensor:
        if isinstance(made, tuple) and made and not isinstance(made[0], fx.Proxy | Tensor):
            made = made[0]
        if isinstance(made, list):
            made = torch.stack(made)
        result: Tensor = self.spikes(made[0] if isinstance(made, tuple) else made)
        return result

    def _traced(self, x: Any) -> Any:
        tracer = x.tracer
        if self.takes == "sequence":
            return self._spikes(self.model(x))
        if self.takes in ("samples", "flat"):
            lead = SAMPLES_MERGED if self.takes == "flat" else SEQUENCE[::-1]
            made = self._spikes(self.model(tracer.relead(x, lead)))
            if tracer.lead(made) != lead:
                raise ConfigError(
                    "a model that takes samples first returns something else",
                    found=" ".join(tracer.lead(made)),
                    allowed="(B T, ...)" if self.takes == "flat" else "(B, T, ...)",
                    where=type(self.model).__name__,
                    remedy="let it return every step, and average behind it: TimeMean()",
                )
            return tracer.relead(made, SEQUENCE)
        handed = [tracer.handed(x, k) for k in range(states_of(self.model) if self.stepwise else 0)]
        made = self.model(tracer.relead(x, STEP, self.takes == "frame"), *handed)
        if handed:
            tracer.returned(
                made[len(made) - len(handed) :] if isinstance(made, tuple) else (), handed
            )
        spikes = self._spikes(made)
        return tracer.relead(spikes, SEQUENCE) if self.stepwise else spikes


def states_of(model: nn.Module) -> int:
    """How many states a forward takes beside its input."""
    parameters = list(inspect.signature(model.forward).parameters.values())[1:]
    many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return sum(p.default is p.empty and p.kind not in many for p in parameters)


def _frame(x: Tensor) -> Tensor:
    if not bool((x == x[:1]).all()):
        raise ConfigError(
            "a model that takes a frame sees one for all steps, and these differ",
            where="takes='frame'",
            found=f"{len(x)} steps that are not equal",
            allowed="(T, B, ...) with equal steps",
            remedy="repeat the frame: inputs = np.repeat(x[None], T, 0)",
        )
    return x[0]


def reset(model: nn.Module) -> None:
    """Bring all neurons of other frameworks to rest."""
    for part in model.modules():
        module: Any = part
        if hasattr(module, "_memories_rv"):  # whatever SpikingJelly gives a memory
            module.reset()
        elif known_class(module)[0] == snntorch.NEURON and hasattr(module, "reset_mem"):
            module.reset_mem()
        elif known_class(module)[0] == sinabs.NEURON:
            sinabs.reset(module)


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

    spaces = (snntorch.NEURON, sinabs.NEURON)  # sinabs' counts are float32 as well
    neurons = [m for m in model.modules() if known_class(m)[0] in spaces]
    handles = [m.register_forward_hook(cast) for m in neurons]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
