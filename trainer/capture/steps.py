"""A forward that goes through the time steps itself, rolled up again into one step.

Its loop is traced as it runs: T times. What step 0 writes is the network; every later step has to
say the same, each neuron fed the same edge and handed the state that its last call returned. So
the loop of the snnTorch tutorials, ``mem = lif.init_leaky()`` and ``spk, mem = lif(cur, mem)``,
and SpikingJelly's loop over a model of single steps are read for what they compute.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from purespike.trainer.capture.conversions import CaptureError
from purespike.trainer.capture.values import Constant, Handed, State, Value

__all__ = ["Steps", "common_step"]


@dataclass
class Steps:
    """The calls of neurons that keep their state.

    Attributes:
        steps: T.
        calls: Of each neuron, by path.
    """

    steps: int
    calls: dict[str, int] = field(default_factory=dict)
    _fed: dict[str, str] = field(default_factory=dict)
    _resets: dict[str, int] = field(default_factory=dict)
    _handed: dict[int, tuple[str, int]] = field(default_factory=dict)

    def call(
        self,
        path: str,
        module: nn.Module,
        edge: str,
        value: Value,
        states: Iterable[Any],
        own: bool,
        stepwise: bool,
    ) -> int | None:
        """The step of one more call of a neuron; None where time is implicit.

        Args:
            path: Of the neuron.
            module: The neuron.
            edge: That feeds it.
            value: What that edge carries.
            states: What it is handed beside its input.
            own: Whether the forward goes through the steps itself.
            stepwise: Whether the forward is called once per step.

        Raises:
            CaptureError: If this is not a next step of the neuron.
        """
        before = self.calls.get(path, 0)
        self.calls[path] = before + 1
        if path in self._resets and (stepwise or self._resets[path] > 1):
            self._refuse_reset(path, module, not stepwise)
        for k, state in enumerate(states):
            self._check(path, module, state, k, before, own)
        if not own:
            if before:
                raise _twice(path, module)
            return None
        at = before if value.frame else value.at
        if at is None or at != before:
            raise CaptureError(
                f"this {type(module).__name__} is not called once per step, in order",
                where=path,
                found=f"call {before + 1}, with "
                + ("the whole sequence" if at is None else f"step {at}"),
                allowed="call k + 1 with what step k makes",
                remedy="use one neuron for each layer, and every step once",
            )
        if self._fed.setdefault(path, edge) != edge:
            raise _differs(path, at, f"{path} is fed {edge}, and {self._fed[path]} at step 0")
        return at

    def _check(
        self, path: str, module: nn.Module, state: Any, index: int, before: int, own: bool
    ) -> None:
        """Is this the state that the last call returned, or zeros in front of the first?"""
        if state is None:
            return
        if isinstance(state, State):
            if (state.path, state.index, state.calls) == (path, index, before):
                return
            found = f"the state of {state.path} after call {state.calls}"
        elif isinstance(state, Handed) and not own and state.index not in self._handed:
            self._handed[state.index] = (path, index)
            return
        elif isinstance(state, Constant) and own:
            if not bool(state.tensor.any()) and before == 0:
                return
            found = "zeros" if not bool(state.tensor.any()) else "other numbers than zeros"
        else:
            found = "zeros, at every step" if isinstance(state, Constant) else "a tensor"
        raise CaptureError(
            f"this {type(module).__name__} does not go on from where it was"
            if own
            else f"this {type(module).__name__} starts anew in every step: nothing is remembered",
            where=path,
            found=f"{found}, in front of call {before + 1}",
            allowed="its own state: the one that its last call returned, zeros at first, or none",
            remedy="hand it the state that it returned"
            if own
            else "call it without a state, or go through the steps in forward and give "
            "Imported(model, takes='sequence')",
        )

    def reset(self, path: str) -> None:
        """The forward brings a neuron to rest."""
        if self.calls.get(path):
            self._resets[path] = self._resets.get(path, 0) + 2
        else:
            self._resets[path] = 1

    @staticmethod
    def _refuse_reset(path: str, module: nn.Module, own: bool) -> None:
        raise CaptureError(
            f"the forward brings this {type(module).__name__} to rest "
            + ("between two steps" if own else "in every step: nothing is remembered"),
            where=path,
            allowed="neurons that start once, in front of the first step",
            remedy="leave resets to Imported, which starts every sequence at rest"
            + ("" if own else "; where forward goes through the steps: takes='sequence'"),
        )

    def returned(self, states: Iterable[Any], where: str) -> None:
        """Each state that came in goes out as the same neuron's next one.

        Raises:
            CaptureError: If it does not.
        """
        for k, state in enumerate(states):
            wanted = self._handed.get(k)
            same = isinstance(state, State) and (state.path, state.index) == wanted
            if wanted is not None and not (same and state.calls == 1):
                raise CaptureError(
                    "a state does not come back as the same neuron's next one",
                    where=where or "the model's forward",
                    found=f"state {k + 1} goes into {wanted[0]}; what comes back in its place is "
                    + (f"of {state.path}" if isinstance(state, State) else "none"),
                    allowed="forward(x, *states) that returns (spikes, *states) in one order",
                    remedy="return the states behind the spikes, in the order that they come in",
                )

    def finish(self, modules: Mapping[str, nn.Module], own: Iterable[str]) -> None:
        """Every neuron of a loop has seen every step.

        Raises:
            CaptureError: If the loop is shorter than the sequence.
        """
        for path in own:
            if self.calls[path] != self.steps:
                raise CaptureError(
                    "the forward goes through another number of steps",
                    where=path,
                    found=f"{self.calls[path]} calls of this {type(modules[path]).__name__}",
                    allowed=f"{self.steps}, one for each step of the input",
                    remedy="state the number of steps that the model has",
                )


def common_step(values: Iterable[Value], where: str) -> int | None:
    """The step that tensors belong to; frames belong to any.

    Raises:
        CaptureError: If they belong to several.
    """
    steps = {v.at for v in values if not v.frame}
    if len(steps) < 2:
        return next(iter(steps), None)
    said = sorted("the sequence" if s is None else f"step {s}" for s in steps)
    raise CaptureError(
        "tensors of different steps meet",
        where=where or "the model's forward",
        found=" and ".join(said),
        allowed="what one step makes; from step to step only neurons remember",
        remedy="leave time to the neurons; a mean over steps is torch.stack(spikes).mean(0)",
    )


def _twice(path: str, module: nn.Module) -> CaptureError:
    return CaptureError(
        f"this {type(module).__name__} is called twice",
        where=path,
        allowed="one call a step: it keeps its membrane from one to the next",
        remedy="use two neurons; where forward goes through the time steps itself, give "
        "Imported(model, takes='sequence')",
    )


def _differs(where: str, at: int, found: str) -> CaptureError:
    return CaptureError(
        "the steps of the forward's loop differ",
        where=where or "the model's forward",
        found=f"step {at}: {found}",
        allowed="every step does what step 0 does",
        remedy="take what happens once out of the loop, or out of the model",
    )


def refuse_new(where: str, at: int, name: str) -> None:
    """Raise CaptureError: a later step does what step 0 did not."""
    raise _differs(where, at, f"it makes {name}, which step 0 does not")
