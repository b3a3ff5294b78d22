"""Residual blocks that go through the kernels as a whole, and when they do.

Classes of blocks that can be one stand in ``KINDS``. While
:func:`~purespike.trainer.nn.spiking.spike_kernels` is on, its spikes are computed by
:func:`~purespike.trainer.nn.block.through` wherever nobody would see the difference: all of its
modules train, nothing listens to one of them, and adding up spikes in all of its layers is not much
slower than in those where it is quicker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks_of_all

from purespike.trainer.nn import block, gates
from purespike.trainer.nn.block_plan import Described, Plan
from purespike.trainer.nn.carrying import carried
from purespike.trainer.nn.choosing import worth_a_block
from purespike.trainer.nn.deferring import tensors_of
from purespike.trainer.nn.kernel import SLOPES
from purespike.trainer.nn.layers import ThresholdBatchNorm2d
from purespike.trainer.nn.memory import Memory
from purespike.trainer.nn.native import usable
from purespike.trainer.nn.synapses import pack

__all__ = ["KINDS", "Fused", "Paths", "Through", "whole"]

_GATES = {gates.GATES[name]: name for name in gates.LOGICAL}  # and no class made of them
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_PLANS = 4  # shapes that are remembered: batches, and the rest at the end of an epoch


@dataclass(frozen=True, eq=False)
class Paths:
    """The modules of a block.

    Attributes:
        units: convolution, normalization and neuron, one after the other along the residual path,
            then those of the path beside it, if there are any.
        residual: how many units the residual path has.
        gate: joins what comes out of both: And, Or, Iand or Xor.
    """

    units: Sequence[tuple[Any, ...]]
    residual: int
    gate: nn.Module

    def modules(self) -> list[nn.Module]:
        """All of them."""
        return [*(module for unit in self.units for module in unit), self.gate]


# What says of which modules a block of a class is made, or that it is none that can go through as a
# whole; no class made of these, whose spikes may be others.
KINDS: dict[type, Callable[[Any], Paths | None]] = {}


def whole(
    modules: Mapping[str, nn.Module], joined: Iterable[tuple[str, str, str]]
) -> dict[nn.Module, Paths]:
    """Blocks whose units are all computed as one each.

    Args:
        modules: of a network by name.
        joined: what :func:`~purespike.trainer.nn.pairs.pairs` found in it.
    """
    if block.available():
        return {}
    units = {(modules.get(conv), modules[norm], modules[neuron]) for norm, neuron, conv in joined}
    found = {}
    for module in modules.values():
        say = KINDS.get(type(module))
        paths = None if say is None else say(module)
        if paths is None or type(paths.gate) not in _GATES:
            continue
        if all(unit in units for unit in paths.units):
            found[module] = paths
    return found


class Through:
    """A block that computes its spikes as a whole."""

    def spikes(self: Any, s: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the block says, and what it adds to the accumulation pathway, if it has one."""
        found: tuple[Tensor, Tensor | None] | None = self._spiking.through(s, self.aap)
        if found is None:
            found = super().spikes(s)  # type: ignore[misc]
        return found


class Fused:
    """What one block needs.

    Args:
        owner: the block.
        paths: its modules.
        modules: of the network by name.
        kernels: what is on.
        spare: memory for what nobody keeps.
    """

    def __init__(
        self,
        owner: nn.Module,
        paths: Paths,
        modules: Mapping[str, nn.Module],
        kernels: Any,
        spare: Memory,
    ) -> None:
        names = {module: name for name, module in modules.items()}
        self.paths, self.kernels, self.memory = paths, kernels, block.Room(spare)
        self.names = [names[unit[0]] for unit in paths.units]
        self.gate = _GATES[type(paths.gate)]
        inner = set(paths.modules())
        holders = [each for each in owner.modules() if inner & set(each.children())]
        self.modules = [*inner, *(each for each in holders if each is not owner)]
        self.held = [(each._modules, dict(each._modules)) for each in holders]
        self.own = [vars(module) for module in self.modules]
        self.begun = False  # whether it has been computed as a whole
        self.listeners = [own[hooks] for own in self.own for hooks in _HOOKS]
        self.plans: dict[Any, Plan | None] = {}

    def through(self, x: Tensor, closing: bool) -> tuple[Tensor, Tensor | None] | None:
        """Compute the block's spikes; None, and nothing has changed, where it shall be by modules.

        Args:
            x: spikes, (T, B, C, H, W).
            closing: whether the spikes of the residual path are asked for.
        """
        if not (isinstance(x, Tensor) and x.dim() == 5 and self._undisturbed(x)):
            return None
        again = torch._C._current_graph_task_id() >= 0  # the backward pass runs, and asks for it
        if again and not self.begun:  # so it was computed by modules
            return None
        known = [self.kernels.choices.get(name) for name in self.names]
        if None in known:  # the first step measures rates, by modules
            return None
        units: list[Described] = []
        parameters: list[Tensor] = []
        running: list[Tensor] = []
        for unit in self.paths.units:
            convolution, norm, neuron = unit
            described = _described(convolution, norm, neuron, x.dtype, parameters, running)
            if described is None:
                return None
            units.append(described)
        plan = self._plan(x, units, known)
        spikes = None if plan is None else carried(x) or pack(x.flatten(0, 1))
        if plan is None or spikes is None:
            return None
        found = block.through(x, spikes, plan, parameters, running, self.memory, closing=closing)
        if found is None:
            return None
        self.begun = True
        for (_, norm, neuron), rate in zip(self.paths.units, found[2], strict=True):
            neuron.firing_rate = rate
            tracked = norm._buffers["num_batches_tracked"]
            if tracked is not None:
                tracked.add_(1)
        return found[:2]

    def _undisturbed(self, x: Tensor) -> bool:
        return (
            torch.is_grad_enabled()
            and x.dtype in (torch.float32, torch.float64)
            and usable(x)
            and not torch.is_autocast_enabled("cpu")
            and not any(self.listeners)
            and not hooks_of_all._has_any_global_hook()  # type: ignore[no-untyped-call]
            and all(module.training for module in self.modules)
            and all(now == was for now, was in self.held)  # no module took another's place
            and not any("forward" in own for own in self.own)
        )

    def _plan(self, x: Tensor, units: list[Any], known: list[Any]) -> Plan | None:
        """How it is computed, or None; all layers have been chosen for."""
        rates = tuple(choice.rate for choice in known)
        key = (x.shape, x.dtype, torch.get_num_threads(), rates, *units)
        if key not in self.plans:
            plan = Plan(x.shape, x.dtype, units, self.paths.residual, self.gate)
            worth = plan.possible and worth_a_block(
                (each.size, each.weight, each.sizes, rate)
                for each, rate in zip(plan.convolutions, rates, strict=True)
            )
            if len(self.plans) >= _PLANS:
                del self.plans[next(iter(self.plans))]
            self.plans[key] = plan if worth else None
        found = self.plans[key]
        if found is not None:
            for name, choice in zip(self.names, known, strict=True):
                if not (choice.forward and choice.gradient):
                    self.kernels.choices[name] = replace(choice, forward=True, gradient=True)
        return found


def _described(
    convolution: Any,
    norm: Any,
    neuron: Any,
    dtype: torch.dtype,
    parameters: list[Tensor],
    running: list[Tensor],
) -> Described | None:
    """A unit as the kernels know it, and its tensors; None where they do not take it."""
    layer, normalized = convolution._parameters, tensors_of(norm, dtype)
    weight = layer.get("weight")  # None where something else computes it
    slope = SLOPES.get(type(neuron.surrogate))
    if weight is None or normalized is None or slope is None:
        return None
    scale, bias, mean, variance = normalized
    dense = weight.is_contiguous()
    possible = (
        not neuron.rectified
        and layer["bias"] is None
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
        and (dense or weight.is_contiguous(memory_format=torch.channels_last))
        and weight.requires_grad
        and norm.momentum is not None
        and weight.dtype == dtype
        and norm.num_features == len(weight)
        and not norm.over_processes
    )
    if not possible:
        return None
    parameters += (
        weight,
        scale * norm.scale if isinstance(norm, ThresholdBatchNorm2d) else scale,
        bias,
    )
    running += (mean, variance)
    kind, *slopes = slope(neuron.surrogate)
    return (
        weight.shape,
        not dense,
        (convolution.stride, convolution.padding, convolution.dilation),
        (
            *(neuron.reset == "zero", neuron.detach_reset, kind, norm.eps, norm.momentum),
            *(neuron.input_scale, neuron.decay, neuron.threshold, neuron.amount, *slopes),
        ),
    )
