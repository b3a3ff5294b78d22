"""ImageNet, or any images in a folder for each class, through Pillow.

``root/train/<class>/*`` and ``root/val/<class>/*`` hold JPEG or PNG files; both have the same
classes, numbered in the order of their names. Test images are scaled so that the shorter side is
8/7 of the size, and the middle is cut out (256 and 224, as He et al., 2016). The augmentation
``crop`` cuts a random part out of training images: 8 to 100 % of the area, sides 3:4 to 4:3
(Szegedy et al., 2015).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Generator, Tensor

from purespike.trainer.data.config import DataConfig
from purespike.trainer.data.files import class_folders, files_below, need_folder, read_bytes
from purespike.trainer.data.samples import Splits
from purespike.trainer.errors import DataError

__all__ = ["ImageFolder", "Middle", "RandomPart", "open_imagenet"]

SIZE = 224
MOST_BYTES = 64 << 20  # of one file
MOST_PIXELS = 64_000_000  # of one image: a small file can unfold to a very large one
ENDINGS = (".jpeg", ".jpg", ".png")
REMEDY = (
    "unpack ILSVRC 2012 (https://image-net.org) there, or any images: JPEG or PNG files in "
    "train/<class>/ and val/<class>/"
)


@dataclass(frozen=True, eq=False)
class ImageFolder:
    """A source of image files."""

    files: tuple[tuple[Path, int], ...]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """An image, uint8 (3, H, W) of its own size, and its label.

        Raises:
            DataError: if the file is not an image, damaged or too large.
        """
        path, label = self.files[index]
        return read_image(path), label


@dataclass(frozen=True)
class Middle:
    """Scale the shorter side to 8/7 of ``size`` and cut the middle out."""

    size: int

    def __call__(self, image: Tensor, generator: Generator | None = None) -> Tensor:
        """(C, H, W) to (C, size, size)."""
        height, width = image.shape[-2:]
        side = min(height, width) * 7 / 8
        left, top = (width - side) / 2, (height - side) / 2
        return _scaled(image, (left, top, left + side, top + side), self.size)


@dataclass(frozen=True)
class RandomPart:
    """Scale a random part to ``size``."""

    size: int

    def __call__(self, image: Tensor, generator: Generator) -> Tensor:
        """(C, H, W) to (C, size, size)."""
        height, width = image.shape[-2:]
        for _ in range(10):
            area, shape, down, right = torch.rand(4, generator=generator).tolist()
            area = (0.08 + 0.92 * area) * height * width
            ratio = math.exp((2 * shape - 1) * math.log(4 / 3))
            wide, high = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < wide <= width and 0 < high <= height:
                left, top = int(right * (width - wide + 1)), int(down * (height - high + 1))
                return _scaled(image, (left, top, left + wide, top + high), self.size)
        return Middle(self.size)(image)  # a very long image, into which no part fits


def read_image(path: Path) -> Tensor:
    """Read a JPEG or PNG file as uint8 (3, H, W).

    Raises:
        DataError: if the file is no such image, damaged or too large.
    """
    data = read_bytes(path, MOST_BYTES, "remove the file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below
            image = Image.open(BytesIO(data), formats=("JPEG", "PNG"))
        if image.width * image.height > MOST_PIXELS:
            raise DataError(
                "an image is too large",
                where=str(path),
                found=f"{image.width} x {image.height} pixels",
                allowed=f"{MOST_PIXELS} pixels",
                remedy="remove or shrink it",
            )
        array = np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        kind = "no JPEG or PNG" if isinstance(e, UnidentifiedImageError) else str(e)
        raise DataError(
            "an image cannot be read", where=str(path), found=kind, remedy="remove or replace it"
        ) from e
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def open_imagenet(config: DataConfig, steps: int) -> Splits:
    """Image folders as sources.

    Raises:
        DataError: if folders are missing, or training and test have other classes.
    """
    root = config.root or ""
    size = config.size or SIZE
    train = need_folder(root, "train", remedy=REMEDY)
    test = need_folder(root, "val", "test", remedy=REMEDY)
    names = class_folders(train, REMEDY)
    if class_folders(test, REMEDY) != names:
        odd = sorted(set(class_folders(test, REMEDY)) ^ set(names))
        raise DataError(
            "training and test images have other classes",
            where=str(test),
            found=f"only in one of them: {', '.join(odd[:5])}",
            allowed="the same folders in both",
            remedy="the validation images need class folders too",
        )
    return Splits(
        train=_listed(train, names),
        test=_listed(test, names),
        names=names,
        fit=Middle(size),
        random_fit=RandomPart(size),
    )


def _listed(folder: Path, names: tuple[str, ...]) -> ImageFolder:
    return ImageFolder(
        tuple(
            (file, label)
            for label, name in enumerate(names)
            for file in files_below(folder / name, ENDINGS, REMEDY)
        )
    )


def _scaled(image: Tensor, box: tuple[float, float, float, float], size: int) -> Tensor:
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    scaled = picture.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)
    return torch.from_numpy(np.array(scaled)).permute(2, 0, 1).contiguous()
