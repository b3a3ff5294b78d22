"""Writes train.npz and test.npz: inputs (T, N, C, H, W) of 0 and 1, labels (N,).

These are real handwritten digits that come with scikit-learn; put your own arrays in their place.
"""

from __future__ import annotations

import numpy as np

from purespike.trainer.data import DataConfig, load_data

digits = load_data(DataConfig("digits"), steps=4)
for name, split in (("train.npz", "train"), ("test.npz", "test")):
    inputs, labels = digits.arrays(split)
    np.savez(name, inputs=inputs, labels=labels)
    print(f"{name}: inputs {inputs.shape}, labels {labels.shape}")
