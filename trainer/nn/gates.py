"""Joins of a residual block as logic on spikes (full-spike AAP paper, Table 1).

``forward(a, s)`` takes ``a``, the spikes of the residual function, and ``s``, those of the
identity path. The formulas are exact on {0, 1} and give the gradients of Table 1 elsewhere. With a
silent residual function (``a = 0``) OR, IAND and XOR pass ``s`` on unchanged; AND does not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from purespike.trainer.errors import ConfigError

__all__ = ["GATES", "JOINS", "LOGICAL", "Add", "And", "Iand", "Or", "Xor", "residual_gate"]


class And(nn.Module):
    """``a s``."""

    def forward(self, a: Tensor, s: Tensor) -> Tensor:
        """Join two tensors of one shape (T, B, C, H, W)."""
        if torch.compiler.is_exporting():
            return _whole(a, s, "and")
        return a * s


class Or(nn.Module):
    """``a + s - a s``."""

    def forward(self, a: Tensor, s: Tensor) -> Tensor:
        """Join two tensors of one shape (T, B, C, H, W)."""
        if torch.compiler.is_exporting():
            return _whole(a, s, "or")
        return a + s - a * s


class Iand(nn.Module):
    """``(1 - a) s``: the identity spike unless the residual function fires."""

    def forward(self, a: Tensor, s: Tensor) -> Tensor:
        """Join two tensors of one shape (T, B, C, H, W)."""
        if torch.compiler.is_exporting():
            return _whole(a, s, "iand")
        return (1.0 - a) * s


class Xor(nn.Module):
    """``a + s - 2 a s``."""

    def forward(self, a: Tensor, s: Tensor) -> Tensor:
        """Join two tensors of one shape (T, B, C, H, W)."""
        if torch.compiler.is_exporting():
            return _whole(a, s, "xor")
        return a + s - 2.0 * a * s


class Add(nn.Module):
    """``a + s``.

    On two spike trains this is the SEW join, which carries integers and is therefore refused by
    the compiler; on two input currents before a neuron it is an ordinary sum of synapses.
    """

    def forward(self, a: Tensor, s: Tensor) -> Tensor:
        """Join two tensors of one shape (T, B, C, H, W)."""
        return a + s


@torch.library.custom_op(
    "purespike::gate", mutates_args=(), schema="(Tensor a, Tensor s, str kind) -> Tensor"
)
def _exported_gate(a: Tensor, s: Tensor, kind: str) -> Tensor:
    """A gate in a program of torch.export: of its formula alone, nobody can say that it is one."""
    joined: Tensor = residual_gate(kind)(a, s)
    return joined


@_exported_gate.register_fake
def _(a: Tensor, s: Tensor, kind: str) -> Tensor:
    return torch.empty_like(a, memory_format=torch.contiguous_format)


def _whole(a: Tensor, s: Tensor, kind: str) -> Tensor:
    joined: Tensor = _exported_gate(a, s, kind)
    return joined


GATES: dict[str, type[nn.Module]] = {"and": And, "or": Or, "iand": Iand, "xor": Xor, "add": Add}
LOGICAL = ("and", "or", "iand", "xor")  # which take spikes only
# How a residual block can join: a gate on spikes, or a sum of currents before the closing neuron.
JOINS = (*GATES, "sn", "vanilla")


def residual_gate(kind: str) -> nn.Module:
    """Build the join of the given name: and, or, iand, xor, add.

    Raises:
        ConfigError: if there is no such gate.
    """
    if kind not in GATES:
        raise ConfigError(
            "unknown residual gate",
            found=repr(kind),
            allowed=", ".join(GATES),
            where="gate",
            remedy="'or' trains best of the spike-only gates in our measurements",
        )
    return GATES[kind]()
