"""From pixel levels to binary spikes.

``bit_plane``: one channel for each bit of a level, the same at every time step; exact and
deterministic. ``rate``: at each step a spike with the probability level/levels. ``latency``: one
spike, the earlier the brighter; none where the level is 0.

Two more names of ``DataConfig`` are not codes of pixels: ``direct`` hands
the network the levels themselves (its first convolution is the encoder and multiplies), ``events``
hands on what an event camera sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from purespike.trainer.errors import ConfigError, ShapeError

__all__ = ["ENCODERS", "LEVELS", "Encoder", "bit_plane", "encode", "encoder", "latency", "rate"]

LEVELS = 16  # the highest grey level of the digits; that of a photograph is 255
HIGHEST = 255


def bit_plane(images: Tensor, steps: int, seed: int = 0, levels: int = LEVELS) -> Tensor:
    """Channel ``c * bits + k`` holds bit k of image channel c, least significant first.

    Args:
        images: uint8 (B, C, H, W), 0 to ``levels``.
        steps: T.
        seed: not used, the code is deterministic.
        levels: the highest level; it has ``bits`` bits (16: 5, 255: 8).

    Returns:
        Spikes, float32 (T, B, C * bits, H, W). A convolution with weights ``w * 2**k / levels`` on
        them equals the convolution with ``w`` on level/levels.
    """
    shifts = torch.arange(levels.bit_length(), dtype=images.dtype).view(1, 1, -1, 1, 1)
    planes = ((images.unsqueeze(2) >> shifts) & 1).flatten(1, 2)
    return planes.float().expand(steps, *planes.shape)


def rate(images: Tensor, steps: int, seed: int = 0, levels: int = LEVELS) -> Tensor:
    """Fire at each step with probability level/levels, independently.

    Args:
        images: uint8 (B, C, H, W), 0 to ``levels``.
        steps: T.
        seed: of the draws.
        levels: the highest level.

    Returns:
        Spikes, float32 (T, B, C, H, W).
    """
    generator = torch.Generator().manual_seed(seed)
    # Whole numbers in [0, levels): below the level with exactly the probability level/levels.
    draws = torch.randint(0, levels, (steps, *images.shape), generator=generator)
    return (draws < images).float()


def latency(images: Tensor, steps: int, seed: int = 0, levels: int = LEVELS) -> Tensor:
    """Fire once, at step ``floor((levels - level) T / levels)``; never at level 0.

    Args:
        images: uint8 (B, C, H, W), 0 to ``levels``.
        steps: T.
        seed: not used, the code is deterministic.
        levels: the highest level.

    Returns:
        Spikes, float32 (T, B, C, H, W).
    """
    when = (levels - images.long()) * steps // levels
    time = torch.arange(steps).view(-1, 1, 1, 1, 1)
    return (time == when).float()


@dataclass(frozen=True)
class Encoder:
    """A code: its function, and whether each bit of a level gets a channel of its own."""

    function: Callable[[Tensor, int, int, int], Tensor]
    per_bit: bool
    deterministic: bool

    @property
    def channels(self) -> int:
        """Channels that the digits have in this code."""
        return LEVELS.bit_length() if self.per_bit else 1


ENCODERS = {
    "bit_plane": Encoder(bit_plane, True, True),
    "rate": Encoder(rate, False, False),
    "latency": Encoder(latency, False, True),
}


def encoder(name: str) -> Encoder:
    """Find an encoder by its name.

    Raises:
        ConfigError: if there is no such encoder.
    """
    if name not in ENCODERS:
        raise ConfigError(
            "unknown spike encoder",
            found=repr(name),
            allowed=", ".join(ENCODERS),
            where="encoder",
            remedy="'bit_plane' is exact and deterministic",
        )
    return ENCODERS[name]


def encode(name: str, images: Tensor, steps: int, *, seed: int = 0, levels: int = LEVELS) -> Tensor:
    """Encode images as binary spikes.

    Args:
        name: bit_plane, rate or latency.
        images: uint8 (B, C, H, W), 0 to ``levels``.
        steps: T.
        seed: of the ``rate`` code.
        levels: the highest level, 1 to 255.

    Returns:
        Spikes, float32 (T, B, C', H, W), values 0 and 1.

    Raises:
        ConfigError: if there is no such encoder.
        ShapeError: if the images are not as stated.
    """
    chosen = encoder(name)
    fits = images.dtype == torch.uint8 and images.dim() == 4 and 1 <= levels <= HIGHEST
    if not fits or (images.numel() and int(images.max()) > levels):
        raise ShapeError(
            "the encoder takes images of whole levels",
            found=f"{images.dtype} {tuple(images.shape)}"
            + (f", highest value {images.max().item()}" if images.numel() else ""),
            allowed=f"torch.uint8 (B, C, H, W), values 0 to {levels}",
            where=f"encode({name!r}, levels={levels})",
            remedy="convert the images to whole levels, and state the highest as levels",
        )
    return chosen.function(images, steps, seed, levels)
