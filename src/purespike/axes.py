"""Which axis of the data is time, and which its samples: (T, B, *shape)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from purespike.compiler.errors import UsageError

_MANY = 16  # steps: few samples of fewer steps are often tried
SWAP = "time comes first, then samples: np.moveaxis(inputs, 0, 1)"


class AxesWarning(UserWarning):
    """Nothing but the order of the axes says which is time and which are samples."""


def unfit(
    found: Sequence[int],
    steps: int,
    shape: Sequence[int],
    where: str,
    error: type[UsageError] = UsageError,
) -> UsageError:
    """The error for inputs of another form than (steps, B, *shape).

    Args:
        found: Their shape.
        steps: T of the network.
        shape: Of one sample at one step, as the network takes it.
        where: They come from.
        error: What is made.
    """
    swapped = tuple(found[1:]) == (steps, *shape)
    return error(
        "the data does not fit the network",
        where=where,
        found=str(tuple(found)),
        allowed=f"({steps}, B, {', '.join(map(str, shape))})",
        remedy=SWAP if swapped else "give inputs of this form, time first",
    )


def warn_of_axes(found: Sequence[int], where: str, *, labelled: bool, known: bool) -> None:
    """Warn where data that came with samples first would go unnoticed.

    Args:
        found: The shape of the inputs.
        where: They come from.
        labelled: Whether there is a label for each sample, which tells the two axes apart.
        known: Whether the network or its user says T.

    Warns:
        AxesWarning: If both axes are equally long, or nothing says T and there are many steps,
            more than samples.
    """
    steps, samples = found[:2]
    many = steps > samples and steps >= _MANY and not (labelled or known)
    if steps == 1 or not (many or steps == samples):
        return
    warnings.warn(
        f"the first axis of the data is taken as time: T = {steps} steps, {samples} samples "
        f"({where}). If samples come first: np.moveaxis(inputs, 0, 1)"
        + (f"; if not, say so: --steps {steps} (in Python: steps={steps})" if many else ""),
        AxesWarning,
        stacklevel=3,
    )
