"""AutoAugment's policy for CIFAR-10, on Pillow (Cubuk et al., 2019, appendix, table 7).

One of 25 sub-policies is drawn for each image; its two operations are each applied with their
probability, at a strength from 0 to 9. The strengths mean what table 6 of the paper says, on ten
equidistant values; a mirrored strength has a random sign.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Generator, Tensor

from purespike.trainer.errors import DataError

__all__ = ["OPERATIONS", "POLICY", "autoaugment"]

# operation, probability in tenths, strength
Part = tuple[str, int, int]

POLICY: tuple[tuple[Part, Part], ...] = (
    (("invert", 1, 7), ("contrast", 2, 6)),
    (("rotate", 7, 2), ("translate_x", 3, 9)),
    (("sharpness", 8, 1), ("sharpness", 9, 3)),
    (("shear_y", 5, 8), ("translate_y", 7, 9)),
    (("autocontrast", 5, 8), ("equalize", 9, 2)),
    (("shear_y", 2, 7), ("posterize", 3, 7)),
    (("color", 4, 3), ("brightness", 6, 7)),
    (("sharpness", 3, 9), ("brightness", 7, 9)),
    (("equalize", 6, 5), ("equalize", 5, 1)),
    (("contrast", 6, 7), ("sharpness", 6, 5)),
    (("color", 7, 7), ("translate_x", 5, 8)),
    (("equalize", 3, 7), ("autocontrast", 4, 8)),
    (("translate_y", 4, 3), ("sharpness", 2, 6)),
    (("brightness", 9, 6), ("color", 2, 8)),
    (("solarize", 5, 2), ("invert", 0, 3)),
    (("equalize", 2, 0), ("autocontrast", 6, 0)),
    (("equalize", 2, 8), ("equalize", 6, 4)),
    (("color", 9, 9), ("equalize", 6, 6)),
    (("autocontrast", 8, 4), ("solarize", 2, 8)),
    (("brightness", 1, 3), ("color", 7, 0)),
    (("solarize", 4, 5), ("autocontrast", 9, 3)),
    (("translate_y", 9, 9), ("translate_y", 7, 9)),
    (("autocontrast", 9, 2), ("solarize", 8, 3)),
    (("equalize", 8, 8), ("invert", 1, 3)),
    (("translate_y", 7, 9), ("autocontrast", 9, 1)),
)


def _affine(image: Image.Image, a: float, b: float, c: float, d: float) -> Image.Image:
    """Take pixel (x, y) from (x + a y + b, c x + y + d); black from outside."""
    matrix = (1.0, a, b, c, 1.0, d)
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def _enhancer(
    kind: Callable[[Image.Image], ImageEnhance._Enhance],
) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, v: kind(image).enhance(1.0 + v)


@dataclass(frozen=True)
class Operation:
    """A change of an image.

    Attributes:
        function: takes the image and a value.
        low: value at strength 0.
        high: value at strength 9.
        mirrored: the value gets a random sign.
    """

    function: Callable[[Image.Image, float], Image.Image]
    low: float = 0.0
    high: float = 0.0
    mirrored: bool = False

    def value(self, strength: int) -> float:
        """The value at a strength from 0 to 9."""
        return self.low + (self.high - self.low) * strength / 9


# Translation is a share of the side: 150 pixels of the paper's 331.
OPERATIONS = {
    "shear_x": Operation(lambda i, v: _affine(i, v, 0, 0, 0), 0.0, 0.3, True),
    "shear_y": Operation(lambda i, v: _affine(i, 0, 0, v, 0), 0.0, 0.3, True),
    "translate_x": Operation(
        lambda i, v: _affine(i, 0, int(v * i.width), 0, 0), 0.0, 150 / 331, True
    ),
    "translate_y": Operation(
        lambda i, v: _affine(i, 0, 0, 0, int(v * i.height)), 0.0, 150 / 331, True
    ),
    "rotate": Operation(lambda i, v: i.rotate(v), 0.0, 30.0, True),
    "brightness": Operation(_enhancer(ImageEnhance.Brightness), 0.0, 0.9, True),
    "color": Operation(_enhancer(ImageEnhance.Color), 0.0, 0.9, True),
    "contrast": Operation(_enhancer(ImageEnhance.Contrast), 0.0, 0.9, True),
    "sharpness": Operation(_enhancer(ImageEnhance.Sharpness), 0.0, 0.9, True),
    "posterize": Operation(lambda i, v: ImageOps.posterize(i, round(v)), 8.0, 4.0),
    "solarize": Operation(lambda i, v: ImageOps.solarize(i, int(v)), 255.0, 0.0),
    "autocontrast": Operation(lambda i, v: ImageOps.autocontrast(i)),
    "equalize": Operation(lambda i, v: ImageOps.equalize(i)),
    "invert": Operation(lambda i, v: ImageOps.invert(i)),
}


def autoaugment(sample: Tensor, generator: Generator, _: int = 0) -> Tensor:
    """Apply a random sub-policy to an image.

    Args:
        sample: uint8 (1 or 3, H, W), 0 to 255.
        generator: of the choice.

    Raises:
        DataError: if the image has other channels or no whole levels.
    """
    if len(sample) not in (1, 3) or sample.dtype != torch.uint8:
        raise DataError(
            "autoaugment takes grey or coloured images",
            found=f"{len(sample)} channels of {sample.dtype}",
            allowed="1 or 3 channels of torch.uint8",
            where="DataConfig(augment=...)",
            remedy="leave autoaugment out",
        )
    parts = POLICY[int(torch.randint(len(POLICY), (), generator=generator))]
    grey = len(sample) == 1
    array = sample[0].numpy() if grey else sample.permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(array)
    for name, tenths, strength in parts:
        applied = torch.randint(10, (), generator=generator)
        negative = torch.randint(2, (), generator=generator)
        if int(applied) >= tenths:
            continue
        operation = OPERATIONS[name]
        value = operation.value(strength)
        sign = -1.0 if operation.mirrored and int(negative) else 1.0
        image = operation.function(image, sign * value)
    out = torch.from_numpy(np.array(image))
    return out[None] if grey else out.permute(2, 0, 1).contiguous()
