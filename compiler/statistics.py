"""How sure a measured accuracy is."""

from __future__ import annotations

import math

_Z95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """The 95 % confidence interval of a success rate after ``correct`` of ``n`` trials.

    Wilson's score interval (Wilson 1927); it stays inside [0, 1] and is honest for small ``n``
    and for rates near 0 and 1, where the textbook interval collapses.

    Args:
        correct: Successes, 0 to ``n``.
        n: Trials, at least 1.

    Returns:
        Lower and upper bound as fractions.

    Raises:
        ValueError: If ``n`` is not positive or ``correct`` is outside 0 to ``n``.

    >>> [round(x, 3) for x in wilson_interval(97, 100)]
    [0.915, 0.99]
    """
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"need 0 <= correct <= n and n >= 1, got correct={correct}, n={n}")
    rate = correct / n
    scale = 1 + _Z95**2 / n
    centre = (rate + _Z95**2 / (2 * n)) / scale
    half = _Z95 / scale * math.sqrt(rate * (1 - rate) / n + _Z95**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)
