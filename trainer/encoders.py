"""From grey levels to binary spikes.

``bit_plane``: one channel for each bit of the grey level, the same at every time step; exact and
deterministic. ``rate``: at each step a spike with the probability level/16. ``latency``: one spike,
the earlier the brighter; none where the level is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from purespike.trainer.errors import ConfigError, ShapeError

__all__ = ["ENCODERS", "LEVELS", "Encoder", "bit_plane", "encode", "encoder", "latency", "rate"]

LEVELS = 16  # the highest grey level
BITS = LEVELS.bit_length()


def bit_plane(images: Tensor, steps: int, seed: int = 0) -> Tensor:
    """Channel k holds bit k of the grey level, least significant first.

    Args:
        images: uint8 (B, 1, H, W), 0 to 16.
        steps: T.
        seed: not used, the code is deterministic.

    Returns:
        Spikes, float32 (T, B, 5, H, W). A convolution with weights ``w * 2**k / 16`` on them
        equals the convolution with ``w`` on level/16.
    """
    shifts = torch.arange(BITS, dtype=images.dtype).view(1, -1, 1, 1)
    planes = (images >> shifts) & 1
    return planes.float().expand(steps, *planes.shape)


def rate(images: Tensor, steps: int, seed: int = 0) -> Tensor:
    """Fire at each step with probability level/16, independently.

    Args:
        images: uint8 (B, 1, H, W), 0 to 16.
        steps: T.
        seed: of the draws.

    Returns:
        Spikes, float32 (T, B, 1, H, W).
    """
    generator = torch.Generator().manual_seed(seed)
    # Whole numbers in [0, 16): below the level with exactly the probability level/16.
    draws = torch.randint(0, LEVELS, (steps, *images.shape), generator=generator)
    return (draws < images).float()


def latency(images: Tensor, steps: int, seed: int = 0) -> Tensor:
    """Fire once, at step ``floor((16 - level) T / 16)``; never at level 0.

    Args:
        images: uint8 (B, 1, H, W), 0 to 16.
        steps: T.
        seed: not used, the code is deterministic.

    Returns:
        Spikes, float32 (T, B, 1, H, W).
    """
    when = (LEVELS - images.long()) * steps // LEVELS
    time = torch.arange(steps).view(-1, 1, 1, 1, 1)
    return (time == when).float()


@dataclass(frozen=True)
class Encoder:
    """A code: its function and how many channels it makes of a grey image."""

    function: Callable[[Tensor, int, int], Tensor]
    channels: int
    deterministic: bool


ENCODERS = {
    "bit_plane": Encoder(bit_plane, BITS, True),
    "rate": Encoder(rate, 1, False),
    "latency": Encoder(latency, 1, True),
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


def encode(name: str, images: Tensor, steps: int, *, seed: int = 0) -> Tensor:
    """Encode grey images as binary spikes.

    Args:
        name: bit_plane, rate or latency.
        images: uint8 (B, 1, H, W), levels 0 to 16.
        steps: T.
        seed: of the ``rate`` code.

    Returns:
        Spikes, float32 (T, B, C, H, W), values 0 and 1.

    Raises:
        ConfigError: if there is no such encoder.
        ShapeError: if the images are not as stated.
    """
    chosen = encoder(name)
    fits = images.dtype == torch.uint8 and images.dim() == 4 and images.shape[1] == 1
    if not fits or (images.numel() and int(images.max()) > LEVELS):
        raise ShapeError(
            "the encoder takes grey images",
            found=f"{images.dtype} {tuple(images.shape)}"
            + (f", highest value {images.max().item()}" if images.numel() else ""),
            allowed=f"torch.uint8 (B, 1, H, W), values 0 to {LEVELS}",
            where=f"encode({name!r})",
            remedy="convert the images to whole grey levels",
        )
    return chosen.function(images, steps, seed)
