"""What capture asks about modules and calls that are not its own.

Inside of :class:`Imported` a module sees whole sequences ("m"), single steps ("s"), or all steps
as more samples ("merged", in a container without state). Each is taken only where it sees what it
was made for: a neuron that took the time axis for samples would forget its state in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import fx, nn
from torch.nn import functional

from purespike.compiler.ir.domain import ANALOG, Domain
from purespike.compiler.ir.graph import Edge, Op
from purespike.compiler.ir.ops import Add, AvgPool2d, Conv2d, Flatten, Linear, Scale
from purespike.trainer.capture.conversions import CaptureError, Converted, unknown
from purespike.trainer.capture.interop import sinabs, snntorch, spikingjelly
from purespike.trainer.capture.interop.classes import framework_class, known_class
from purespike.trainer.capture.interop.imported import Imported, Spikes
from purespike.trainer.capture.values import Value

__all__ = [
    "Mode",
    "Reset",
    "common_slots",
    "converter",
    "gives_state",
    "is_container",
    "is_foreign",
    "is_sequence",
    "is_stateful",
    "join",
    "mode_at",
    "module_of_call",
    "slotted",
    "states_of",
    "watch_resets",
]

Mode = Literal["", "m", "s", "merged", "samples", "flat", "wrong"]
_CONVERTERS: dict[str, Mapping[str, Callable[..., Converted]]] = {
    spikingjelly.NEURON: spikingjelly.NEURONS,
    spikingjelly.LAYER: spikingjelly.LAYERS,
    snntorch.NEURON: snntorch.NEURONS,
}
# Of SpikingJelly's layers those whose forward is traced: arithmetic on what their layers make.
ATTENTION = ("SpikingSelfAttention", "QKAttention", "TokenQKAttention", "ChannelQKAttention",
             "SpikeDrivenSelfAttention")  # fmt: skip
# Functions and the modules that compute the same.
_CALLS: dict[Any, type[nn.Module]] = {
    torch.flatten: nn.Flatten,
    "flatten": nn.Flatten,
    torch.max_pool2d: nn.MaxPool2d,
    functional.max_pool2d: nn.MaxPool2d,
    functional.avg_pool2d: nn.AvgPool2d,
}


def is_container(module: nn.Module) -> bool:
    """Is it a container that leads a sequence through its modules one after the other?"""
    space, name = known_class(module)
    return space == spikingjelly.LAYER and name in spikingjelly.CONTAINERS


def is_sequence(module: nn.Module) -> bool:
    """Does it call its modules one after the other, once the framework's own detour is left out?"""
    online = known_class(module)[1] == "OTTTSequential"  # beside spikes, traces while it trains
    return online or (isinstance(module, nn.Sequential) and is_container(module))


def is_foreign(module: nn.Module) -> bool:
    """Is a module one operation of another framework?"""
    foreign = isinstance(module, Spikes) or framework_class(module) is not None
    traced = is_container(module) or is_sequence(module) or known_class(module)[1] in ATTENTION
    return foreign and not traced


def is_stateful(module: nn.Module) -> bool:
    """Does a module of another framework keep a membrane from one call to the next?"""
    return known_class(module)[0] in (spikingjelly.NEURON, snntorch.NEURON, sinabs.NEURON)


def gives_state(module: nn.Module) -> bool:
    """Does a module of another framework return (spikes, state)?"""
    return known_class(module)[0] == snntorch.NEURON and snntorch.gives_state(module)


def states_of(module: nn.Module) -> int:
    """How many states such a module returns beside its spikes."""
    return 2 if known_class(module)[1] == "Synaptic" else 1


def mode_at(modules: Mapping[str, nn.Module], path: str) -> Mode:
    """What the module at ``path`` is called with."""
    mode: Mode = ""
    parts = path.split(".") if path else []
    for k in range(len(parts)):
        around: Any = modules[".".join(parts[:k])]
        if isinstance(around, Imported):
            mode = "wrong" if mode else "s" if around.stepwise else "m"  # of a frame its axes say
        elif is_container(around) and getattr(around, "step_mode", "m") == "m":
            stepped = spikingjelly.CONTAINERS[known_class(around)[1]](around)
            fits = ("m",) if stepped else ("m", "")
            mode = "wrong" if mode not in fits else "s" if stepped else "merged"
    return mode


def converter(
    module: nn.Module, mode: Mode, path: str, domain: Domain = ANALOG
) -> Callable[..., Converted] | None:
    """What a module of another framework is in the graph; None if it is of none.

    Args:
        module: The module.
        mode: What it is called with.
        path: Where it stands.
        domain: Of what it reads.

    Raises:
        CaptureError: If it computes something else there than its class says, or is unknown.
    """
    if isinstance(module, Spikes):
        return lambda m, shape, steps, path: []
    cls = framework_class(module)
    if cls is None:
        if mode not in ("", "m"):
            _refuse_sequences(module, mode, path)
            if isinstance(module, nn.Flatten):
                return spikingjelly.LAYERS["Flatten"]
        return None
    space, name = known_class(module)
    if space == sinabs.NEURON:
        _refuse_order(module, mode, path)
        return lambda m, shape, steps, path: sinabs.converted(m, path, domain)
    convert = _CONVERTERS[space].get(name)
    if convert is None:
        raise unknown(module, path, _CONVERTERS[space])
    own = _own(module, cls)
    if own:
        raise CaptureError(
            f"this {type(module).__name__} computes in its own way",
            where=path,
            found=f"its own {', '.join(sorted(own))}",
            allowed=f"modules that compute as {cls.__name__} does",
            remedy=f"use {cls.__name__} itself where it says the same, or export one time step "
            "with its states to ONNX (docs/inputs.md)"
            if is_stateful(module)
            else "derive it from nn.Module, so that its forward is traced",
        )
    wanted = _wanted(module, space)
    if mode not in wanted:
        raise CaptureError(
            f"this {name} would take the time axis for something else",
            where=path,
            found=_CALLED[mode],
            allowed=" or ".join(_CALLED[w] for w in sorted(wanted)),
            remedy=_step_mode(module, mode),
        )
    return convert


_CALLED = {
    "": "outside of Imported",
    "m": "called with a sequence (T, B, ...)",
    "s": "called with single steps (B, ...)",
    "merged": "called with all steps as more samples (T B, ...)",
    "samples": "called with samples in front (B, T, ...)",
    "flat": "called with all steps of each sample (B T, ...)",
    "wrong": "inside of a container of sequences that is called with something else",
}


def _refuse_order(module: nn.Module, mode: Mode, path: str) -> None:
    """Neurons of sinabs take samples first: (B, T, ...), those named Squeeze (B T, ...)."""
    flat = type(module).__name__ in sinabs.FLAT
    if mode != ("flat" if flat else "samples"):
        raise CaptureError(
            f"this {type(module).__name__} of sinabs would take the time axis for something else",
            where=path,
            found=_CALLED[mode],
            allowed=_CALLED["flat" if flat else "samples"],
            remedy="give capture Imported(model), with neurons that all take (B, T, ...), or all "
            "(B T, ...)",
        )


def _step_mode(module: Any, mode: Mode) -> str:
    """How a module of SpikingJelly comes to see what it was made for."""
    takes = getattr(module, "supported_step_mode", lambda: ("s", "m"))()
    if mode == "s" and "s" not in takes:
        return "call it once, with the sequence (T, B, ...) of what goes into it"
    if mode == "s":
        return "single steps arrive there: functional.set_step_mode(model, 's')"
    return (
        "give capture Imported(model), and SpikingJelly's modules one step_mode: "
        "functional.set_step_mode(model, 'm')"
    )


def _wanted(module: Any, space: str) -> set[str]:
    """Where a module computes what its class says."""
    if space == snntorch.NEURON or known_class(module)[1] in spikingjelly.STEPWISE:
        return {"s"}
    single = {"s"} if space == spikingjelly.NEURON else {"s", "merged"}
    if isinstance(module, nn.Linear):  # does not look at its step_mode
        return {"m", *single}
    return {"m"} if getattr(module, "step_mode", "m") == "m" else single


def slotted(module: nn.Module, path: str, edge: Edge, value: Value) -> Value:
    """What a module gives that spreads counts over binary steps, or adds those up again.

    Raises:
        CaptureError: If the counts do not fit into the slots, or were spread over other slots.
    """
    space, name = known_class(module)
    if space != spikingjelly.LAYER or name not in spikingjelly.SLOTS:
        return value
    slots: int = module.num_slots  # type: ignore[assignment]
    spreads = name == "SpikeCountToBinary"
    if not spreads and not value.slots:
        raise CaptureError(
            "TemporalBinSum adds up what nothing has spread: these are steps of time",
            where=path,
            found=value.said,
            allowed="counts, spread by SpikeCountToBinary and added up by TemporalBinSum",
            remedy="put SpikeCountToBinary in front of the layer that it follows",
        )
    fits = edge.domain <= Domain(0, slots, 1) if spreads else value.slots == slots
    if not fits or (spreads and value.slots):
        raise CaptureError(
            f"this {name} has other slots than what it takes",
            where=path,
            found=f"{slots} slots, on {edge.domain}" if spreads else f"{slots} and {value.slots}",
            allowed="whole counts from 0 to num_slots, spread once and added up again",
            remedy="give both converters the num_slots that the activation has levels",
        )
    return replace(value, slots=slots if spreads else 0)


def common_slots(op: Op, values: Sequence[Value], path: str) -> int:
    """How many binary steps per step an operation runs for: 0 where counts are whole.

    Raises:
        CaptureError: If slots differ, or the operation is not linear.
    """
    slots = {v.slots for v in values}
    if slots == {0}:
        return 0
    linear = isinstance(op, Conv2d | Linear) and op.bias is None
    if len(slots) > 1 or not (linear or isinstance(op, Flatten | AvgPool2d | Scale | Add)):
        raise CaptureError(
            "between SpikeCountToBinary and TemporalBinSum stands what does not run once per slot",
            where=path or "the model's forward",
            found=type(op).__name__ + (" with a bias" if isinstance(op, Conv2d | Linear) else ""),
            allowed="convolutions and linear layers with bias=False, flattens, average pools, sums",
            remedy="move it behind TemporalBinSum",
        )
    return slots.pop()


def _refuse_sequences(module: nn.Module, mode: Mode, path: str) -> None:
    if type(module).__module__.startswith(
        ("purespike.trainer.nn.layers", "purespike.trainer.nn.neuron")
    ):
        raise CaptureError(
            f"this {type(module).__name__} takes sequences",
            where=path,
            found=_CALLED[mode],
            allowed=_CALLED["m"],
            remedy="put it behind Imported(model), which returns a sequence",
        )


def _own(module: nn.Module, cls: type) -> set[str]:
    """Methods of a framework's class that a subclass or the module itself replaces."""
    mro = type(module).__mro__
    places = [vars(c) for c in mro[: mro.index(cls)]] + [vars(module)]
    names = {
        n
        for place in places
        for n in place
        if callable(getattr(cls, n, None)) and not isinstance(place[n], Reset)
    }
    return names - {"__init__", "extra_repr"}


class Reset:
    """In a module that is traced, in the place of a method that resets it: notes the call."""

    def __init__(self, method: Callable[[], Any], note: Callable[[], None]) -> None:
        self._method, self._note = method, note

    def __call__(self) -> Any:
        """Reset it."""
        self._note()
        return self._method()


def watch_resets(modules: Mapping[str, nn.Module], note: Callable[[str], None]) -> None:
    """Have every reset of a neuron noted with its path."""
    for path, module in modules.items():
        if is_stateful(module):
            method = "reset_mem" if known_class(module)[0] == snntorch.NEURON else "reset"
            if hasattr(module, method):
                own = Reset(getattr(module, method), partial(note, path))
                object.__setattr__(module, method, own)


def module_of_call(
    target: Any, options: tuple[Any, ...], named: Mapping[str, Any], mode: Mode
) -> nn.Module | None:
    """The module that computes what a call does to its first argument; None if there is none."""
    kind = _CALLS.get(target)
    images = mode in ("s", "merged")  # torch's pools take no sequence
    if kind is None or not (images or kind is nn.Flatten):
        return None
    if any(isinstance(a, fx.Node) for a in (*options, *named.values())):
        return None
    if kind is nn.Flatten:  # begins with axis 0 unless said otherwise, the module with 1
        named = dict(zip(("start_dim", "end_dim"), options, strict=False)) | dict(named)
        return nn.Flatten(**({"start_dim": 0} | named))
    return kind(*options, **named)


def join(target: Any, args: tuple[Any, ...]) -> tuple[Op, str, tuple[Any, ...]] | None:
    """The operation of a SEW join, its name, and its inputs in the order of the graph's gates."""
    if not spikingjelly.is_sew_function(target) or len(args) != 3:
        return None
    op = spikingjelly.JOINS.get(args[2])
    return None if op is None else (op, args[2].lower(), (args[1], args[0]))
