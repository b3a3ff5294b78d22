"""A split with the same share of every class: scikit-learn's, index by index."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


def stratified_split(labels: Indices, held: int, seed: int) -> tuple[Indices, Indices]:
    """Which samples are for training, and which ``held`` for the test.

    The algorithm and the random draws are those of `sklearn.model_selection.train_test_split` with
    ``stratify`` (scikit-learn 1.7), which shuffles both parts; a test compares the indices.

    Args:
        labels: (N,).
        held: How many are held back for the test.
        seed: Of numpy's `RandomState`.
    """
    counts = np.bincount(labels)
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])
    random = np.random.RandomState(seed)
    trained = _shares(counts, len(labels) - held, random)
    tested = _shares(counts - trained, held, random)
    train: list[int] = []
    test: list[int] = []
    for own, first, last in zip(members, trained, tested, strict=True):
        order = own[random.permutation(len(own))]
        train.extend(order[:first])
        test.extend(order[first : first + last])
    return random.permutation(np.array(train)), random.permutation(np.array(test))


def _shares(counts: Indices, wanted: int, random: np.random.RandomState) -> Indices:
    """So many of each class that the sum is ``wanted``; the largest remainders are rounded up."""
    exact = counts / counts.sum() * wanted
    shares = np.floor(exact)
    missing = int(wanted - shares.sum())
    remainder = exact - shares
    for value in np.sort(np.unique(remainder))[::-1]:
        if missing == 0:
            break
        (equal,) = np.where(remainder == value)
        chosen = random.choice(equal, size=min(len(equal), missing), replace=False)
        shares[chosen] += 1
        missing -= len(chosen)
    whole: Indices = shares.astype(np.int64)
    return whole
