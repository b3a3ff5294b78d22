"""The split of the digits is scikit-learn's, index by index, without scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from purespike.trainer.data.digits import SPLIT_SEED, TEST_SIZE, digits
from purespike.trainer.data.stratified import stratified_split


def test_the_digits_are_those_of_scikit_learn() -> None:
    images, labels = load_digits(return_X_y=True)
    found = digits()
    for ours, theirs in zip(
        (found.train_images, found.test_images, found.train_labels, found.test_labels),
        train_test_split(
            images.astype(np.uint8).reshape(-1, 1, 8, 8),
            labels.astype(np.int64),
            test_size=TEST_SIZE,
            random_state=SPLIT_SEED,
            stratify=labels,
        ),
        strict=True,
    ):
        np.testing.assert_array_equal(ours.numpy(), theirs, strict=True)


@pytest.mark.parametrize("seed", range(12))
def test_any_labels_are_split_as_scikit_learn_splits_them(seed: int) -> None:
    r = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(6).repeat(4), r.integers(0, 6, int(r.integers(30, 300)))])
    held = int(len(labels) * r.uniform(0.2, 0.6))
    wanted = train_test_split(
        np.arange(len(labels)), test_size=held, random_state=seed, stratify=labels
    )
    for ours, theirs in zip(stratified_split(labels, held, seed), wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)
