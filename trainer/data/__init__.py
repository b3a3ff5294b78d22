"""Data sets, their codes and their augmentations (docs/data.md)."""

from purespike.trainer.data.config import DATA_SETS, DataConfig
from purespike.trainer.data.dataset import DataSet
from purespike.trainer.data.digits import (
    SPLIT_SEED,
    TEST_SIZE,
    Batch,
    BatchOrder,
    Digits,
    EncodedDigits,
    digits,
    loader,
    shifted,
)
from purespike.trainer.data.loading import load_data
from purespike.trainer.data.samples import SampleOrder, Samples, Source

__all__ = [
    "DATA_SETS",
    "SPLIT_SEED",
    "TEST_SIZE",
    "Batch",
    "BatchOrder",
    "DataConfig",
    "DataSet",
    "Digits",
    "EncodedDigits",
    "SampleOrder",
    "Samples",
    "Source",
    "digits",
    "load_data",
    "loader",
    "shifted",
]
