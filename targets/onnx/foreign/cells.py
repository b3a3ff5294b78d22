"""Neurons, recognised in what a step makes of its states.

With ``m`` a state and ``m'`` its next value, the forms are, ``s = [u >= threshold]``:

1. Reset at once: ``m' = u - amount s`` or ``m' = (1 - s) u``, with ``u = decay m + x``.
2. Reset in the next step (snnTorch): ``m' = decay m + x - amount [m >= threshold]`` or
   ``m' = decay (1 - [m >= threshold]) m + x``, fired by ``m'``. The graph takes ``amount / decay``
   off at once, which leaves the same membrane a step later.
3. No reset: ``m' = decay m + x``; with a comparison a neuron that loses nothing, else a readout.

In all of them ``x`` may be ``k i'`` with ``i' = a i + y`` a second state: a synaptic current. The
spikes of the step before may also be handed in, as a state of their own: see `history`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from purespike.compiler.ir.forms import Form, Real, Spike, atom, ratio, same, scaled
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.ir.ops.neuron import Reset
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.files import KNOWN_NEURON
from purespike.targets.onnx.foreign.spikes import over, rests, threshold

FORMS = (
    "m' = decay m + x - amount s, m' = (decay m + x) (1 - s), both with s of this step; "
    "m' = decay m + x - amount s, m' = decay (1 - s) m + x, both with s = [m > threshold] of the "
    "step before; m' = decay m + x"
)


@dataclass(frozen=True)
class Cell:
    """One layer of neurons.

    Attributes:
        state: Its membrane as the step takes it in.
        update: The membrane as the step hands it out.
        op: The neuron.
        current: What it takes.
        spike: Where it fires; None for a readout.
        before: Where it fired in the step before, if something may ask.
        late: Whether it takes what its synapses sent a step before.
    """

    state: Real
    update: Form
    op: Neuron
    current: Form
    spike: Spike | None
    before: Spike | None = None
    late: bool = False


def cell(state: Real, updates: Mapping[Real, Form], live: Iterable[Spike]) -> Cell:
    """The neuron behind a state.

    Args:
        state: A state that takes part in its own next value.
        updates: The next value of each such state.
        live: The comparisons that anything depends on.

    Raises:
        OnnxError: If the update is none of the forms above; it says what was found.
    """
    update = updates[state]
    own = [s for s in update.spikes() if state in s.gap.reals()]
    early = [s for s in own if over(s, atom(state, state.shape)) is not None]
    prompt = [s for s in own if s not in early]
    fires = [s for s in live if over(s, update) is not None]
    if len(own) > 1:
        raise _refused(state, "its update takes more than one comparison with it", own)
    if prompt:
        return _prompt(state, updates, prompt[0])
    if len(fires) > 1:
        raise _refused(state, "it is compared with more than one threshold", fires)
    if early:
        return _delayed(state, updates, early[0], fires)
    base = _Base.of(state, update, updates)
    if not fires:
        return base.cell(state, update, Neuron(np.array(np.inf), base.decay, "none"), None)
    op = Neuron(threshold(fires[0], update), base.decay, "subtract", np.zeros(()))
    early = [s for s in live if over(s, atom(state, state.shape)) is not None]
    return base.cell(state, update, op, fires[0], _before(state, early, fires[0], update))


def _prompt(state: Real, updates: Mapping[Real, Form], s: Spike) -> Cell:
    update = updates[state]
    u, effect = update.split(s)
    if over(s, u) is None:
        twice = any(over(e, atom(state, state.shape)) for e in s.gap.spikes())
        raise _refused(
            state,
            "what a reset by subtraction leaves above the threshold resets again in the next step, "
            "without a spike (snnTorch's reset_delay=False)"
            if twice
            else "it fires on something else than what its update makes",
            [s],
            "use reset_delay=True, or reset_mechanism='zero'" if twice else "",
        )
    base = _Base.of(state, u, updates)
    reset: Reset = "subtract"
    amount = -effect.of()
    if not effect.constant():
        if not same(effect, scaled(u, -1.0)):
            raise _refused(state, "a spike does something else to it than a reset", [s])
        reset, amount = "zero", np.zeros(())
    op = Neuron(threshold(s, u), base.decay, reset, amount)
    return base.cell(state, update, op, s)


def _delayed(state: Real, updates: Mapping[Real, Form], s: Spike, fires: list[Spike]) -> Cell:
    update = updates[state]
    rest, effect = update.split(s)
    base = _Base.of(state, rest, updates)
    held = atom(state, state.shape)
    if not fires:
        raise _refused(
            state,
            "it resets, and nothing fires on its next value: a membrane is not an output of a "
            "neuron that resets",
            [s],
        )
    before = _before(state, [s], fires[0], update)
    reset: Reset = "subtract"
    amount = -effect.of()
    if effect.constant():
        if base.decay == 0:
            raise _refused(state, "a reset in the next step, which a decay of 0 forgets", [s])
        amount = np.asarray(amount / base.decay)
    elif same(effect, scaled(held, -base.decay)):
        reset, amount = "zero", np.zeros(())
    elif same(effect, scaled(rest, -1.0)):
        raise _refused(
            state,
            "a spike also takes what arrives in the step after it (snnTorch's Lapicque, Synaptic "
            "and RLeaky with reset_mechanism='zero'); the graph's reset leaves it",
            [s],
            "use reset_mechanism='subtract', or reset_delay=False where it is known",
        )
    else:
        raise _refused(state, "a spike does something else to it than a reset", [s])
    op = Neuron(threshold(s, held), base.decay, reset, amount)
    return base.cell(state, update, op, fires[0], before)


def _before(state: Real, early: list[Spike], fires: Spike, update: Form) -> Spike | None:
    """The comparison of a membrane that says whether it fired in the step before."""
    if not early:
        return None
    held = atom(state, state.shape)
    one, two = (threshold(s, v) for s, v in ((early[0], held), (fires, update)))
    fit = bool(np.isclose(one, two, rtol=1e-9, atol=0.0).all())
    if len(early) > 1 or not fit or early[0].strict != fires.strict:
        raise _refused(state, "it resets on another threshold than it fires on", [*early, fires])
    if not rests(early[0]):
        raise _refused(state, "a threshold below zero: at its start it would reset unfired", early)
    return early[0]


@dataclass(frozen=True)
class _Base:
    """``decay m + current``, and how the current fades."""

    decay: float
    current: Form
    fades: float = 0.0
    late: bool = False

    @classmethod
    def of(cls, state: Real, value: Form, updates: Mapping[Real, Form]) -> _Base:
        current, factor = value.split(state)
        decay = _factor(state, factor, "decay")
        states = [r for r in current.reals() if r in updates]
        if not states:
            return cls(decay, current)
        (held, *others), update = states, updates[states[0]]
        others += [s for s in update.spikes() if held in s.gap.reals()]  # type: ignore[misc]
        for late, whole in ((False, update), (True, atom(held, held.shape))):
            found = ratio(current, whole)
            if found is not None and not found[1].any() and not others:
                arrives, factor = update.split(held)
                fades = _factor(held, factor, "decay of a current")
                return cls(decay, scaled(arrives, found[0]), fades, late)
        raise _refused(
            state,
            f"it takes {', '.join(r.name for r in states)} in another way than a synaptic current",
            [],
        )

    def cell(
        self,
        state: Real,
        update: Form,
        op: Neuron,
        spike: Spike | None,
        before: Spike | None = None,
    ) -> Cell:
        op = replace(op, current_decay=self.fades)
        return Cell(state, update, op, self.current, spike, before, self.late)


def _factor(state: Real, factor: Form, what: str) -> float:
    """The one number between 0 and 1 that a state is multiplied by."""
    value = factor.of()
    if not factor.constant() or value.ndim or not 0 <= float(value) <= 1:
        found = f"{value.min():g} to {value.max():g}" if factor.constant() else "no constant"
        raise OnnxError(
            f"the {what} is no one number from 0 to 1 for the layer",
            where=f"state {state.name!r}",
            found=found,
            allowed="one factor per layer, 0 to 1",
            remedy="split the layer into one for each factor, or train one factor for it"
            if factor.constant()
            else KNOWN_NEURON,
        )
    return float(value)


def _refused(state: Real, why: str, spikes: Iterable[Spike], remedy: str = "") -> OnnxError:
    where = ", ".join(dict.fromkeys(s.where for s in spikes))
    return OnnxError(
        f"the state {state.name!r} is not a membrane that is known: {why}",
        where=where or f"state {state.name!r}",
        allowed=FORMS,
        remedy=remedy or KNOWN_NEURON,
    )
