"""Which output of a step is the next value of which input.

ONNX does not say it. Two things do: names that differ only in words such as *in*, *out* and *next*,
and the values themselves, since the next membrane is a sum with the membrane in it. What an input
is must follow from these; where two readings are possible the file is refused with both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from purespike.compiler.ir.forms import Form, Real
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.naming import core

_NAME_THEM = (
    "name them: input_names=['x', 'v'], output_names=['s', 'v_out'] of torch.onnx.export make "
    "v_out the next value of v"
)


@dataclass(frozen=True)
class Pairs:
    """What the inputs and outputs of a step are.

    Attributes:
        data: The input that carries data.
        states: Each state, and the name of the output that is its next value.
        outputs: The names of all other outputs.
    """

    data: Real
    states: tuple[tuple[Real, str], ...]
    outputs: tuple[str, ...]


def pair(inputs: Sequence[Real], outputs: Mapping[str, Form]) -> Pairs:
    """Tell data from states, and pair the states.

    Args:
        inputs: In the order of the file.
        outputs: The values of the outputs by name, in the order of the file.

    Raises:
        OnnxError: If more than one reading is possible, or no input carries data; it names the
            inputs and outputs in question.
    """
    named = _by_name(inputs, outputs)
    found = named | _by_value(
        [r for r in inputs if r not in named],
        {n: f for n, f in outputs.items() if n not in named.values()},
    )
    rest = tuple(n for n in outputs if n not in found.values())
    data = [r for r in inputs if r not in found]
    if not found:
        raise OnnxError(
            "a threshold without a state pair: no output is the next value of an input, so that "
            "every step would start at the same membrane",
            found=f"inputs {', '.join(map(_shown, data))}; outputs {', '.join(rest)}",
            allowed="each state as an input and as an output, of one shape",
            remedy="return the states of the neurons as well",
        )
    if len(data) != 1:
        raise OnnxError(
            "which input carries data cannot be told",
            found=f"states: {_said(found) or 'none'}; left: inputs "
            f"{', '.join(map(_shown, data)) or 'none'}, outputs {', '.join(rest) or 'none'}",
            allowed="one input of data; all others are states, each with an output as its next "
            "value. A state that takes no part in its own next value, such as the spikes of the "
            "step before, is only known by its name",
            remedy=_NAME_THEM,
        )
    early = [r for r in inputs[: inputs.index(data[0])] if r not in named]
    if early:
        raise OnnxError(
            "an unnamed state stands in front of the data: which is which cannot be told",
            found=f"states: {_said(found)}; data: {_shown(data[0])}",
            allowed="the data first, or names",
            remedy=_NAME_THEM,
        )
    return Pairs(data[0], tuple((r, found[r]) for r in inputs if r in found), rest)


def _by_name(inputs: Sequence[Real], outputs: Mapping[str, Form]) -> dict[Real, str]:
    """Pairs whose names agree, once each; what the values are is asked later."""
    found: dict[Real, str] = {}
    names = [core(r.name) for r in inputs]
    for real, name in zip(inputs, names, strict=True):
        alike = [n for n in outputs if core(n) == name]
        if not name or names.count(name) > 1 or len(alike) != 1:
            continue
        if outputs[alike[0]].shape == real.shape:
            found[real] = alike[0]
    return found


def _by_value(inputs: Sequence[Real], outputs: Mapping[str, Form]) -> dict[Real, str]:
    """Pairs of an input and the only output that can be its next value."""
    last = {f.key(): n for n, f in outputs.items()}  # of equal outputs the last one: states go last
    names = [n for n in outputs if n in last.values()]
    options = {
        r: [n for n in names if outputs[n].shape == r.shape and r in outputs[n].reals()]
        for r in inputs
    }
    options = {r: found for r, found in options.items() if found}
    pairs: dict[Real, str] = {}
    while options:
        real = next((r for r, found in options.items() if len(found) == 1), None)
        rivals = [r for r in options if real is None or options[r] == options[real]]
        if real is None or len(rivals) > 1:
            raise OnnxError(
                "which output is the next value of which state cannot be told",
                found="; ".join(f"{_shown(r)}: {' or '.join(options[r])}" for r in rivals),
                allowed="one reading",
                remedy=_NAME_THEM,
            )
        (pairs[real],) = options.pop(real)
        options = {r: [n for n in found if n != pairs[real]] for r, found in options.items()}
    ranks = [names.index(pairs[r]) for r in inputs if r in pairs]
    if ranks != sorted(ranks):
        raise OnnxError(
            "states come in in another order than what their values say is handed out",
            found=_said(pairs),
            allowed="one order, or names",
            remedy=_NAME_THEM,
        )
    return pairs


def _shown(real: Real) -> str:
    return f"{real.name} (N, {', '.join(map(str, real.shape))})"


def _said(found: Mapping[Real, str]) -> str:
    return ", ".join(f"{r.name} -> {n}" for r, n in found.items())
