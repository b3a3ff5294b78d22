"""Changes that are made to training samples, each a function of the sample and a generator.

Images are uint8 (C, H, W), frames of an event camera float32 (T, C, H, W). What moves in from
outside is black, which all spike codes leave silent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from purespike.trainer.data.autoaugment import autoaugment
from purespike.trainer.errors import ConfigError

__all__ = [
    "AUGMENTATIONS",
    "Augmentation",
    "Change",
    "augmentation",
    "check_augmentation",
    "crop",
    "cutout",
    "flip",
    "roll",
    "temporal_delete",
]


def flip(sample: Tensor, generator: Generator, _: int) -> Tensor:
    """Mirror left and right, in half of the cases; (..., H, W)."""
    return sample.flip(-1) if _below(2, generator) else sample


def crop(sample: Tensor, generator: Generator, padding: int) -> Tensor:
    """Add a black border of ``padding`` pixels and cut out the old size at random; (..., H, W)."""
    height, width = sample.shape[-2:]
    padded = torch.nn.functional.pad(sample, (padding,) * 4)
    top, left = _below(2 * padding + 1, generator), _below(2 * padding + 1, generator)
    return padded[..., top : top + height, left : left + width]


def cutout(sample: Tensor, generator: Generator, side: int) -> Tensor:
    """Blacken a square whose centre lies anywhere in the image (DeVries and Taylor, 2017).

    The square may reach over the border, as in the paper; (..., H, W).
    """
    height, width = sample.shape[-2:]
    y, x = _below(height, generator) - side // 2, _below(width, generator) - side // 2
    out = sample.clone()
    out[..., max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = 0
    return out


def roll(sample: Tensor, generator: Generator, reach: int) -> Tensor:
    """Move by up to ``reach`` pixels along each axis; what leaves comes in on the other side."""
    dy, dx = (_below(2 * reach + 1, generator) - reach for _ in range(2))
    return sample.roll((dy, dx), (-2, -1))


def temporal_delete(frames: Tensor, generator: Generator, keep: int) -> Tensor:
    """Keep ``keep`` of the T frames, chosen at random, in their order (Fang et al., NeurIPS 2021).

    Args:
        frames: (T, C, H, W).
        generator: of the choice.
        keep: frames that stay, at most T.

    Returns:
        (keep, C, H, W): training runs over fewer steps than testing.
    """
    chosen = torch.randperm(len(frames), generator=generator)[:keep]
    return frames[chosen.sort().values]


@dataclass(frozen=True)
class Augmentation:
    """One change.

    Attributes:
        function: takes a sample, a generator and the number.
        default: the number where none is given; 0 if it takes none.
        images: suits images.
        events: suits frames of an event camera.
    """

    function: Callable[[Tensor, Generator, int], Tensor]
    default: int
    images: bool
    events: bool


@dataclass(frozen=True)
class Change:
    """An augmentation with its number; a plain function could not go to a worker process."""

    function: Callable[[Tensor, Generator, int], Tensor]
    number: int

    def __call__(self, sample: Tensor, generator: Generator) -> Tensor:
        """Change a sample."""
        return self.function(sample, generator, self.number)


# Defaults as the papers use them: CIFAR crops 4, cutout 16, DVS Gesture 12 of 16 frames.
AUGMENTATIONS = {
    "flip": Augmentation(flip, 0, images=True, events=True),
    "crop": Augmentation(crop, 4, images=True, events=True),
    "cutout": Augmentation(cutout, 16, images=True, events=True),
    "autoaugment": Augmentation(autoaugment, 0, images=True, events=False),
    "roll": Augmentation(roll, 5, images=False, events=True),
    "temporal_delete": Augmentation(temporal_delete, 12, images=False, events=True),
}


def augmentation(text: str) -> Change:
    """Read ``name`` or ``name:number``; the text has been checked."""
    name, _, number = text.partition(":")
    chosen = AUGMENTATIONS[name]
    return Change(chosen.function, int(number) if number else chosen.default)


def check_augmentation(text: str, *, events: bool, name: str) -> None:
    """Refuse what cannot be read or does not suit the data.

    Args:
        text: ``name`` or ``name:number``.
        events: the samples are frames of an event camera.
        name: of the data set.

    Raises:
        ConfigError: if there is no such augmentation for these data.
    """
    kind, colon, number = text.partition(":")
    suited = [k for k, a in AUGMENTATIONS.items() if (a.events if events else a.images)]
    if kind not in suited:
        _refuse(text, f"{', '.join(suited)} for {name}")
    if kind == "autoaugment" and name == "digits":
        _refuse(text, "no autoaugment: its operations work on 256 levels, the digits have 17")
    if kind == "crop" and colon and name == "imagenet":
        _refuse(text, "crop without a number: a random part is cut out and scaled to the size")
    if kind == "flip" and name == "dvs_gesture":
        _refuse(text, "no flip: it turns a gesture of the right hand into one of the left")
    if colon and not AUGMENTATIONS[kind].default:
        _refuse(text, f"{kind} without a number")
    if colon and not (number.isdecimal() and 1 <= int(number) <= 1024):
        _refuse(text, f"{kind}:1 to {kind}:1024")


def _below(limit: int, generator: Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))


def _refuse(text: str, allowed: str) -> None:
    raise ConfigError(
        "an augmentation is not allowed",
        found=repr(text),
        allowed=allowed,
        where="DataConfig(augment=...)",
        remedy="remove or correct it",
    )
