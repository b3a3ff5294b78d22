"""Files as a user of another tool brings them."""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np


def foreign(path: Path) -> Path:
    """A NIR file of two inputs and three IF neurons, as any tool would write it."""
    ones = np.ones(3)
    nodes = {
        "in": nir.Input(np.array([2])),
        "w": nir.Affine(np.array([[0.5, 1.0], [1.0, -0.3], [0.7, 0.7]]), 0 * ones),
        "if": nir.IF(ones, ones),
        "out": nir.Output(np.array([3])),
    }
    nir.write(path, nir.NIRGraph(nodes, [("in", "w"), ("w", "if"), ("if", "out")]))
    return path
