import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from purespike.trainer.errors import ConfigError
from purespike.trainer.nn.auxiliary import BalanceSchedule
from purespike.trainer.training.losses import default_fusion, total_loss

G = torch.Generator().manual_seed(0)
LABELS = torch.tensor([0, 2, 1])
LOGITS = {
    name: torch.randn(3, 4, generator=G, dtype=torch.float64)
    for name in ("main", "aap", "shortcut.0", "shortcut.1")
}


def ce(logits: torch.Tensor) -> float:
    """Cross entropy from its definition."""
    rows = logits.tolist()
    losses = [
        math.log(sum(math.exp(z) for z in row)) - row[label]
        for row, label in zip(rows, LABELS.tolist(), strict=True)
    ]
    return sum(losses) / len(losses)


def only(*names: str) -> dict[str, torch.Tensor]:
    return {name: LOGITS[name] for name in names}


def test_each_term_against_its_definition():
    main, aap = ce(LOGITS["main"]), ce(LOGITS["aap"])
    sides = LOGITS["shortcut.0"] + LOGITS["shortcut.1"]
    cases = {
        ("main",): main,
        ("main", "aap"): main + aap,
        ("main", "shortcut.0", "shortcut.1"): ce(LOGITS["main"] + 0.2 * sides),
        tuple(LOGITS): ce(LOGITS["main"] + 0.2 * sides) + aap,
    }
    for names, expected in cases.items():
        got = total_loss(only(*names), LABELS, balance=0.2, fusion="logit")
        assert float(got) == pytest.approx(expected, rel=1e-12)


def test_loss_fusion_sums_losses():
    got = total_loss(LOGITS, LABELS, balance=0.2, fusion="loss")
    side = ce(LOGITS["shortcut.0"]) + ce(LOGITS["shortcut.1"])
    assert float(got) == pytest.approx(
        ce(LOGITS["main"]) + 0.2 * side + ce(LOGITS["aap"]), rel=1e-12
    )


def test_label_smoothing_spreads_the_label_in_every_term():
    def smoothed(logits: torch.Tensor) -> float:
        other = sum(ce_to(logits, k) for k in range(4)) / 4
        return 0.9 * ce(logits) + 0.1 * other

    def ce_to(logits: torch.Tensor, k: int) -> float:
        return float((logits.logsumexp(1) - logits[:, k]).mean())

    got = total_loss(LOGITS, LABELS, balance=0.2, fusion="loss", label_smoothing=0.1)
    side = smoothed(LOGITS["shortcut.0"]) + smoothed(LOGITS["shortcut.1"])
    expected = smoothed(LOGITS["main"]) + 0.2 * side + smoothed(LOGITS["aap"])
    assert float(got) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("fusion", ["logit", "loss"])
def test_without_balance_the_branches_do_not_count(fusion):
    with_branches = total_loss(LOGITS, LABELS, balance=0.0, fusion=fusion)
    without = total_loss(only("main", "aap"), LABELS, balance=0.0, fusion=fusion)
    assert float(with_branches) == float(without)


def test_unknown_fusion():
    with pytest.raises(ConfigError, match="logit, loss"):
        total_loss(LOGITS, LABELS, balance=0.0, fusion="sum")
    assert default_fusion("linear") == default_fusion("cosine") == "logit"
    assert default_fusion("constant") == "loss"


@given(st.floats(0.0, 10.0), st.integers(1, 10_000), st.integers(0, 10_000), st.integers(0, 10_000))
def test_decaying_schedules_fall_from_the_initial_value_to_zero(initial, total, i, j):
    for kind in ("linear", "cosine"):
        schedule = BalanceSchedule(initial, kind)
        assert schedule.at(0, total) == pytest.approx(initial)
        assert schedule.at(total, total) == 0.0
        earlier, later = sorted((i, j))
        assert schedule.at(earlier, total) >= schedule.at(later, total) >= 0.0
    assert BalanceSchedule(initial, "constant").at(i, total) == initial


def test_linear_schedule_is_equation_10():
    assert BalanceSchedule().at(30, 120) == 0.25 * (1 - 30 / 120)
    assert BalanceSchedule(kind="cosine").at(60, 120) == pytest.approx(0.125)


@pytest.mark.parametrize("bad", [{"kind": "step"}, {"initial": -0.1}, {"initial": math.nan}])
def test_impossible_schedules(bad):
    with pytest.raises(ConfigError, match="balance"):
        BalanceSchedule(**bad)
