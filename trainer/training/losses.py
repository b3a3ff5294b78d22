"""The training objective on all heads of a network.

With logits ``O`` of the main head, ``O_l`` of the shortcut branches and ``O_a`` of the accumulation
pathway, the balance coefficient ``lam``, and the cross entropy ``CE``:

    fusion 'logit'   CE(O + lam * sum_l O_l) + CE(O_a)          (shortcut paper, Eq. 6)
    fusion 'loss'    CE(O) + lam * sum_l CE(O_l) + CE(O_a)      (deep supervision)

The terms of heads that a network was built without are absent. ``CE(O) + CE(O_a)`` is Eq. 12 of
the AAP paper. Where the accumulation pathway is the main head (a DSNN), the spike stream's head,
``'spike'``, takes the place of ``O_a``: the sum is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor
from torch.nn.functional import cross_entropy

from purespike.trainer.errors import ConfigError

__all__ = ["FUSIONS", "default_fusion", "total_loss"]

FUSIONS = ("logit", "loss")


def total_loss(
    logits: Mapping[str, Tensor],
    labels: Tensor,
    *,
    balance: float,
    fusion: str,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Compute the objective.

    Args:
        logits: what a model returns, each (B, classes): ``'main'``, and perhaps ``'aap'`` or
            ``'spike'``, and ``'shortcut.<l>'``.
        labels: class indices, (B,).
        balance: the balance coefficient of this iteration.
        fusion: 'logit' or 'loss'.
        label_smoothing: share of each label spread evenly over all classes, in every term.

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ConfigError: if there is no such fusion.
    """
    if fusion not in FUSIONS:
        raise ConfigError(
            "unknown fusion of the shortcut branches",
            found=repr(fusion),
            allowed=", ".join(FUSIONS),
            where="fusion",
            remedy="'logit' with a decaying balance coefficient, 'loss' with a constant one",
        )
    criterion = partial(cross_entropy, label_smoothing=label_smoothing)
    branches = [value for name, value in logits.items() if name.startswith("shortcut.")]
    main = logits["main"]
    if fusion == "logit":
        for branch in branches:
            main = main + balance * branch
        loss = criterion(main, labels)
    else:
        loss = criterion(main, labels)
        for branch in branches:
            loss = loss + balance * criterion(branch, labels)
    for other in ("aap", "spike"):
        if other in logits:
            loss = loss + criterion(logits[other], labels)
    return loss


def default_fusion(schedule: str) -> str:
    """Return the fusion that goes with a schedule of the balance coefficient.

    A decaying coefficient takes the paper's sum of logits. A constant one takes the sum of losses:
    with summed logits the main head would be trained together with branches that are not there
    when the network is used.
    """
    return "loss" if schedule == "constant" else "logit"
