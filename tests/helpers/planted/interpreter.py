"""Faults of the interpreter: its neuron, and all other operations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np

from helpers.planted.planting import Listed, Patch, bumped, method, reading, stepping
from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.ops import (
    Add,
    Conv2d,
    Delay,
    Flatten,
    Gate,
    Linear,
    MaxPool2d,
    Neuron,
    Scale,
)


def neuron(**wrong: Any) -> Patch:
    def step(self: Neuron, state: Array, *inputs: Array) -> tuple[Array, Array]:
        if self.fixed is None or self.current_decay:
            return original(self, state, *inputs)
        (x,) = inputs
        shift = wrong.get("shift", self.fixed.fraction_bits)
        unit, limit = 1 << self.fixed.fraction_bits, self.fixed.limit
        decay = self.decay
        if 0 < decay < 1:
            decay += wrong.get("decay", 0) / 2**self.fixed.decay_bits
        kept = state * decay
        rounding = wrong.get("rounding", np.trunc)
        current = x * (1 << shift)
        if "wrap" in wrong:
            half = 1 << wrong["wrap"]
            current = (current + half) % (2 * half) - half
        v = rounding(kept) * (not wrong.get("forgets", False)) + current
        if wrong.get("clip", True):
            v = np.clip(v, -limit, limit)
        if wrong.get("floor", False):
            v = np.maximum(v, 0.0)
        if not self.fires:
            return v, v / unit
        theta = self.threshold * unit + wrong.get("threshold", 0) * unit
        spikes = ((v > theta) if wrong.get("strict", False) else (v >= theta)).astype(float)
        reset = {"zero": wrong.get("zero", "zero"), "subtract": wrong.get("subtract", "subtract")}
        kind = reset[self.reset]
        if kind == "none":
            return v, spikes
        if kind == "zero":
            return np.where(spikes > 0, 0.0, v), spikes
        amount = self.amount + wrong.get("amount", 0)
        return v - spikes * amount * unit, spikes

    original = Neuron.step
    return lambda: mock.patch.object(Neuron, "step", step)


NEURON: dict[str, dict[str, Any]] = {
    "> for >=": {"strict": True},
    "threshold + 1": {"threshold": 1},
    "threshold - 1": {"threshold": -1},
    "hard reset becomes soft": {"zero": "subtract"},
    "soft reset becomes hard": {"subtract": "zero"},
    "hard reset left out": {"zero": "none"},
    "soft reset takes 1 more": {"amount": 1},
    "saturation left out": {"clip": False},
    "current wraps at 20 bits": {"wrap": 20},
    "shift of 5 for 6": {"shift": 5},
    "decay + 1/4096": {"decay": 1},
    "leak rounds down": {"rounding": np.floor},
    "leak rounds to nearest": {"rounding": np.rint},
    "membrane forgotten": {"forgets": True},
    "membrane never below zero": {"floor": True},
}


def _gate(kind: str, other: str) -> Patch:
    def make(old: Any) -> Any:
        def step(self: Gate, state: None, *inputs: Array) -> Any:
            return old(replace(self, kind=other) if self.kind == kind else self, state, *inputs)

        return step

    return method(Gate, "step", make)


def _swapped_iand() -> Patch:
    def make(old: Any) -> Any:
        def step(self: Gate, state: None, *inputs: Array) -> Any:
            return old(self, state, *(inputs[::-1] if self.kind == "iand" else inputs))

        return step

    return method(Gate, "step", make)


def _rolled_groups(op: Conv2d) -> dict[str, Any]:
    return {"weight": np.roll(op.weight, 1, axis=0)} if op.groups > 1 else {}


def _shifted(*inputs: Array) -> tuple[Array, ...]:
    (x,) = inputs
    return (np.roll(x, 1, axis=3),)


def _channels_last(*inputs: Array) -> tuple[Array, ...]:
    (x,) = inputs
    moved = np.moveaxis(x, 1, -1) if x.ndim == 4 else x
    return (moved.reshape(len(x), -1),)


def _late_by_one() -> Patch:
    """A delay gives what arrived one step after it should."""

    def make(old: Any) -> Any:
        def read(self: Delay, state: Array) -> Array:
            return state[1] if len(state) > 1 else old(self, state)

        return read

    return method(Delay, "read", make)


def _short_of_one(*inputs: Array) -> tuple[Array, ...]:
    return inputs[:-1]


OPS: Listed = {
    "OR becomes AND": ("Gate", _gate("or", "and")),
    "AND becomes OR": ("Gate", _gate("and", "or")),
    "XOR becomes OR": ("Gate", _gate("xor", "or")),
    "IAND with its inputs exchanged": ("Gate", _swapped_iand()),
    "convolution weight + 1": (
        "Conv2d",
        stepping(Conv2d, lambda op: {"weight": bumped(op.weight, 1)}),
    ),
    "convolution weight - 1": (
        "Conv2d",
        stepping(Conv2d, lambda op: {"weight": bumped(op.weight, -1)}),
    ),
    "kernel flipped": (
        "Conv2d",
        stepping(Conv2d, lambda op: {"weight": op.weight[:, :, ::-1, ::-1]}),
    ),
    "kernel transposed": (
        "Conv2d",
        stepping(Conv2d, lambda op: {"weight": op.weight.swapaxes(2, 3)}),
    ),
    "channels of groups shifted": ("Conv2d", stepping(Conv2d, _rolled_groups)),
    "image shifted by a pixel": ("Conv2d", reading(Conv2d, _shifted)),
    "bias left out": ("Conv2d", stepping(Conv2d, lambda op: {"bias": None})),
    "linear weight + 1": (
        "Linear",
        stepping(Linear, lambda op: {"weight": bumped(op.weight, 1)}),
    ),
    "linear rows shifted": (
        "Linear",
        stepping(Linear, lambda op: {"weight": np.roll(op.weight, 1, axis=0)}),
    ),
    "one-to-one weight + 1": (
        "Scale",
        stepping(Scale, lambda op: {"factor": op.factor + 1}),
    ),
    "flattened channels last": ("Flatten", reading(Flatten, _channels_last)),
    "max pool becomes min pool": (
        "MaxPool2d",
        method(
            MaxPool2d,
            "step",
            lambda old: lambda self, state, x: (None, 1 - old(self, state, 1 - x)[1]),
        ),
    ),
    "delay one step short": ("Delay", _late_by_one()),
    "a sum forgets its last input": ("Add", reading(Add, _short_of_one)),
}
