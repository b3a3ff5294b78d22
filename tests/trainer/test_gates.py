import pytest
import torch

from purespike.trainer.errors import ConfigError
from purespike.trainer.nn.gates import Add, And, Iand, Or, Xor, residual_gate

A = torch.tensor([0.0, 0.0, 1.0, 1.0])
S = torch.tensor([0.0, 1.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("kind", "cls", "truth"),
    [
        ("and", And, [0, 0, 0, 1]),
        ("or", Or, [0, 1, 1, 1]),
        ("iand", Iand, [0, 1, 0, 0]),
        ("xor", Xor, [0, 1, 1, 0]),
        ("add", Add, [0, 1, 1, 2]),
    ],
)
def test_truth_tables(kind, cls, truth):
    gate = residual_gate(kind)
    assert type(gate) is cls
    assert gate(A, S).tolist() == truth


@pytest.mark.parametrize(
    ("kind", "by_a", "by_s"),
    [
        ("and", S, A),
        ("or", 1 - S, 1 - A),
        ("iand", -S, 1 - A),
        ("xor", 1 - 2 * S, 1 - 2 * A),
        ("add", torch.ones(4), torch.ones(4)),
    ],
)
def test_gradients_of_table_1(kind, by_a, by_s):
    a, s = A.clone().requires_grad_(), S.clone().requires_grad_()
    residual_gate(kind)(a, s).sum().backward()
    assert torch.equal(a.grad, by_a)
    assert torch.equal(s.grad, by_s)


@pytest.mark.parametrize("kind", ["or", "iand", "xor", "add"])
def test_a_silent_residual_passes_the_identity_on(kind):
    assert torch.equal(residual_gate(kind)(torch.zeros(4), S), S)


def test_unknown_gates_are_refused():
    with pytest.raises(ConfigError, match="nand"):
        residual_gate("nand")
