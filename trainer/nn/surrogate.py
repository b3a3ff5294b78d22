"""Surrogate gradients: what stands in for the derivative of the firing step.

Each is a frozen, stateless object with ``derivative(u)``, where ``u = h - threshold`` is the
distance of the membrane potential from the firing threshold. Two families must not be confused:
with *unit area* (:class:`ATan`, :class:`Sigmoid`, :class:`Rectangular`, :class:`Tanh`,
:class:`PiecewiseQuadratic`) a larger steepness makes the peak higher, with *unit height*
(:class:`FastSigmoid`, :class:`Triangular`) it only makes the curve narrower. The gradient through
many layers therefore grows with the steepness in the first family and shrinks with it in the
second. :class:`Shaped` has width and height apart, for scans
(:func:`purespike.trainer.training.gradients.scan_surrogates`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import torch
from torch import Tensor

from purespike.trainer.errors import ConfigError

__all__ = [
    "SHAPES",
    "SURROGATES",
    "ATan",
    "FastSigmoid",
    "PiecewiseQuadratic",
    "Rectangular",
    "Shaped",
    "Sigmoid",
    "Surrogate",
    "Tanh",
    "Triangular",
    "surrogate_from_dict",
    "surrogate_to_dict",
]


class Surrogate(Protocol):
    """Anything with a ``derivative``; those below are what the trainer ships."""

    def derivative(self, u: Tensor) -> Tensor:
        """Pseudo-derivative of the firing step at ``u = h - threshold``, same shape as ``u``."""
        ...


@dataclass(frozen=True)
class ATan:
    """``alpha / (2 (1 + (pi/2 alpha u)^2))`` (full-spike AAP paper, App. C.3), unit area."""

    alpha: float = 2.0

    def __post_init__(self) -> None:
        _positive(self, "alpha")

    def derivative(self, u: Tensor) -> Tensor:
        """Return the pseudo-derivative at ``u``; the peak is ``alpha / 2``."""
        scaled = (math.pi / 2 * self.alpha) * u
        return scaled.square_().add_(1.0).reciprocal_().mul_(self.alpha / 2)


@dataclass(frozen=True)
class Sigmoid:
    """``alpha S(alpha u) (1 - S(alpha u))`` with the logistic ``S``; unit area."""

    alpha: float = 4.0

    def __post_init__(self) -> None:
        _positive(self, "alpha")

    def derivative(self, u: Tensor) -> Tensor:
        """Return the pseudo-derivative at ``u``; the peak is ``alpha / 4``."""
        logistic = (self.alpha * u).sigmoid_()
        return logistic * (1.0 - logistic) * self.alpha


@dataclass(frozen=True)
class Rectangular:
    """``1 / width`` where ``|u| <= width / 2``; unit area.

    ``width=1`` around a threshold of 0.5 is the straight-through clamp of the shortcut and
    InfLoR papers' code.
    """

    width: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "width")

    def derivative(self, u: Tensor) -> Tensor:
        """Return the pseudo-derivative at ``u``; the peak is ``1 / width``."""
        return (u.abs() <= self.width / 2).to(u.dtype).mul_(1.0 / self.width)


@dataclass(frozen=True)
class Triangular:
    """``max(0, 1 - alpha |u|)``; unit height, area ``1 / alpha``."""

    alpha: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "alpha")

    def derivative(self, u: Tensor) -> Tensor:
        """Return the pseudo-derivative at ``u``; the peak is 1."""
        return (1.0 - self.alpha * u.abs()).clamp_(min=0.0)


@dataclass(frozen=True)
class FastSigmoid:
    """``1 / (1 + alpha |u|)^2``, the SuperSpike form; unit height, area ``2 / alpha``."""

    alpha: float = 2.0

    def __post_init__(self) -> None:
        _positive(self, "alpha")

    def derivative(self, u: Tensor) -> Tensor:
        """Return the pseudo-derivative at ``u``; the peak is 1."""
        return (self.alpha * u.abs()).add_(1.0).square_().reciprocal_()


@dataclass(frozen=True)
class Tanh:
    """``k / (2 tanh(k/2)) sech^2(k u)`` where ``|u| <= 1/2``, else 0; unit area.

    At a threshold of 0.5 this is the gradient of InfLoR's membrane potential rectifier followed by
    the straight-through clamp (``k=3``), so training with it needs no rectifier in the forward.
    """

    k: float = 3.0

    def __post_init__(self) -> None:
        _positive(self, "k")

    def derivative(self, u: Tensor) -> Tensor:
        """Return the pseudo-derivative at ``u``; the peak is ``k / (2 tanh(k/2))``."""
        peak = self.k / (2.0 * math.tanh(self.k / 2.0))
        bell = 1.0 - (self.k * u).tanh_().square_()
        return bell.mul_(peak).mul_((u.abs() <= 0.5).to(u.dtype))


@dataclass(frozen=True)
class PiecewiseQuadratic:
    """``alpha max(0, 1 - alpha |u|)``; unit area: the triangle whose integral is two parabolas."""

    alpha: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "alpha")

    def derivative(self, u: Tensor) -> Tensor:
        """Return the pseudo-derivative at ``u``; the peak is ``alpha``."""
        return (1.0 - self.alpha * u.abs()).clamp_(min=0.0).mul_(self.alpha)


# Bells of height 1 that fall to 1/2 at -1/2 and +1/2.
SHAPES: dict[str, Callable[[Tensor], Tensor]] = {
    "fast_sigmoid": lambda z: (1.0 + 2.0 * (math.sqrt(2.0) - 1.0) * z.abs()).pow(-2.0),
    "arctan": lambda z: 1.0 / (1.0 + (2.0 * z).square()),
    "sigmoid": lambda z: 1.0 - torch.tanh(2.0 * math.acosh(math.sqrt(2.0)) * z).square(),
    "triangular": lambda z: (1.0 - z.abs()).clamp(min=0.0),
    "rectangular": lambda z: (z.abs() <= 0.5).to(z.dtype),
}


@dataclass(frozen=True)
class Shaped:
    """``height * shape(u / width)``: height and width apart (Ledinauskas et al. 2020).

    That paper finds that gradients of deep networks explode where the surrogate is too wide and
    vanish where it is too narrow; here ``width`` is the full width at half the height, for every
    shape alike, so the statement can be tested on each.

    Attributes:
        shape: one of :data:`SHAPES`.
        width: of the membrane potential over which the curve is at least half its peak.
        height: the peak.
    """

    shape: str = "fast_sigmoid"
    width: float = 1.0
    height: float = 1.0

    def __post_init__(self) -> None:
        _positive(self, "width")
        _positive(self, "height")
        if self.shape not in SHAPES:
            raise ConfigError(
                "unknown shape of a surrogate gradient",
                found=repr(self.shape),
                allowed=", ".join(SHAPES),
                where="Shaped(shape=...)",
                remedy="'fast_sigmoid' falls off slowest, 'rectangular' at once",
            )

    def derivative(self, u: Tensor) -> Tensor:
        """Return the pseudo-derivative at ``u``; the peak is ``height``."""
        return SHAPES[self.shape](u / self.width) * self.height


SURROGATES: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        ATan,
        Sigmoid,
        Rectangular,
        Triangular,
        FastSigmoid,
        Tanh,
        PiecewiseQuadratic,
        Shaped,
    )
}


def surrogate_to_dict(surrogate: Surrogate) -> dict[str, Any]:
    """Describe a shipped surrogate in JSON: ``{"name": "ATan", "alpha": 2.0}``.

    Raises:
        ConfigError: if the surrogate is not one of :data:`SURROGATES`.
    """
    name = type(surrogate).__name__
    if SURROGATES.get(name) is not type(surrogate):
        raise ConfigError(
            "this surrogate cannot be written to JSON",
            found=name,
            allowed=", ".join(SURROGATES),
            where="surrogate",
            remedy="use a surrogate of purespike.trainer.nn.surrogate in a saved configuration",
        )
    return {"name": name, **asdict(surrogate)}  # type: ignore[call-overload]


def surrogate_from_dict(data: dict[str, Any]) -> Surrogate:
    """Read what :func:`surrogate_to_dict` wrote.

    Raises:
        ConfigError: on an unknown name, a missing or an unknown parameter.
    """
    parameters = dict(data)
    name = parameters.pop("name", None)
    cls = SURROGATES.get(name) if isinstance(name, str) else None
    if cls is None:
        raise ConfigError(
            "unknown surrogate gradient",
            found=repr(name),
            allowed=", ".join(SURROGATES),
            where="surrogate.name",
            remedy="write one of the allowed names",
        )
    known = {field.name for field in fields(cls)}
    if set(parameters) - known:
        raise ConfigError(
            f"{name} has no such parameter",
            found=", ".join(sorted(set(parameters) - known)),
            allowed=", ".join(sorted(known)),
            where="surrogate",
            remedy="remove it",
        )
    surrogate: Surrogate = cls(**parameters)
    return surrogate


def _positive(surrogate: object, name: str) -> None:
    value = getattr(surrogate, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ConfigError(
            f"{name} of {type(surrogate).__name__} must be a positive finite number",
            found=repr(value),
            allowed="> 0",
            where=f"{type(surrogate).__name__}({name}=...)",
            remedy="choose a positive value; the default is a good start",
        )
