"""Norse's classes, one time step each, exported to ONNX and read back: exact, or refused."""

from __future__ import annotations

import inspect
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as tree

from helpers.framework_classes import Row
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.interpret import run
from purespike.targets.onnx.foreign.step import read_step

STEPS, SAMPLES, WIDTH = 20, 3, 4
_HOST = ("Encoder", "Decoder", "ReceptiveField")
_WHOLE = ("ConvNet", "ConvNet4", "VGG", "MobileNetV2", "Lift", "SequentialState")
_WHOLE += ("RecurrentSequential", "RegularizationCell")


class Step(nn.Module):
    """One step: spikes of a first neuron, through weights into the class that is tried."""

    def __init__(self, cell: nn.Module, first: nn.Module, sequence: bool) -> None:
        super().__init__()
        self.a, self.first, self.b = nn.Linear(WIDTH, WIDTH), first, nn.Linear(WIDTH, WIDTH)
        self.cell, self.sequence = cell, sequence
        self.form: Any = None

    def call(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """The class on one step, also where it takes all of them."""
        y, state = self.cell(x[None] if self.sequence else x, state)
        return (y[0] if self.sequence else y), state

    def forward(self, x: Tensor, v: Tensor, i: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """All states in, all states out."""
        from norse.torch.functional.lif import LIFFeedForwardState

        x, first = self.first(self.a(x), LIFFeedForwardState(v, i))
        x, state = self.call(self.b(x), tree.tree_unflatten(states, self.form))
        return (x, first.v, first.i, *tree.tree_leaves(state))


def _made(cls: type[nn.Module]) -> nn.Module | None:
    for arguments in (), (WIDTH, WIDTH), (WIDTH,):
        try:
            return cls(*arguments)
        except Exception:  # of another signature
            continue
    return None


def _step(cell: nn.Module) -> tuple[Step, int] | None:
    """The step, and how many tensors the state of the class has."""
    import norse.torch as norse

    for sequence in False, True:
        step = Step(cell, norse.LIFCell(), sequence)
        try:
            _, state = step.call(torch.zeros(1, WIDTH), None)
        except Exception:  # it takes something else
            continue
        leaves, step.form = tree.tree_flatten(state)
        if leaves and all(isinstance(leaf, Tensor) for leaf in leaves):
            return step, len(leaves)
    return None


def attempt(cell: nn.Module, folder: Path) -> PurespikeError | str | None:
    """What refuses it; a word where it has no step; None if it is exact.

    Raises:
        AssertionError: If it is read as something else than it computes.
    """
    torch.manual_seed(0)
    found = _step(cell)
    if found is None:
        return "not a step"
    step, count = found
    for layer in step.a, step.b:
        nn.init.normal_(layer.weight, 4.0, 6.0)
    step.requires_grad_(False)
    _constants(cell)
    names = [*("v0", "i0"), *(f"s{k}" for k in range(count))]
    state = [torch.zeros(1, WIDTH) for _ in names]
    torch.onnx.export(
        step.eval(), (torch.zeros(1, WIDTH), *state), str(folder / "f.onnx"), dynamo=False,
        input_names=["x", *names], output_names=["spk", *(f"{n}_out" for n in names)],
    )  # fmt: skip
    try:
        graph = read_step(folder / "f.onnx", steps=STEPS, domain=SPIKE)
    except PurespikeError as e:
        return e
    x = (np.random.default_rng(0).random((STEPS, SAMPLES, WIDTH)) < 0.5).astype(np.float64)
    states = [torch.zeros(SAMPLES, WIDTH, dtype=torch.float64) for _ in names]
    wanted = []
    step = step.double()
    for frame in torch.from_numpy(x):
        y, *states = step(frame, *states)
        wanted.append(y.numpy())
    made = run(graph, x).values[graph.outputs[0]]
    made = made.reshape(np.shape(wanted))
    fires = set(np.unique(wanted)) == {0, 1}
    np.testing.assert_allclose(made, wanted, rtol=0, atol=0 if fires else 1e-9)
    assert np.std(wanted) > 0, f"{type(cell).__name__} shows nothing"
    return None


def _constants(cell: Any) -> None:
    """Undo what a call without a state does: IAF then has its parameters trained."""
    p = getattr(cell, "p", None)
    if hasattr(p, "_replace"):
        cell.p = p._replace(**{k: v.detach() for k, v in p._asdict().items() if torch.is_tensor(v)})


def _why(e: PurespikeError) -> str:
    said = re.sub(r"state 's\d'", "state", e.message.partition(": ")[2])
    return said + (f": {e.found}" if e.found and not re.match(r"s\d", e.found) else "")


def _cell_of(name: str) -> str:
    """The class that is one step of a class that takes all steps."""
    import norse.torch as norse

    cell = f"{name}Cell"
    if not hasattr(norse, cell):
        return ""
    torch.manual_seed(0)
    x = torch.randn(STEPS, SAMPLES, WIDTH) * 5
    whole, one = _made(getattr(norse, name)), _made(getattr(norse, cell))
    if whole is None or one is None:
        return ""
    one.load_state_dict(whole.state_dict())
    with torch.no_grad():
        wanted, state, found = whole(x)[0], None, []
        for frame in x:
            y, state = one(frame, state)
            found.append(y)
    same = torch.equal(torch.stack(found), wanted)
    return cell if same and wanted.std() > 0 else ""


def rows() -> Iterator[Row]:
    """Each class of norse.torch."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        import norse.torch as norse

        for name, cls in sorted(vars(norse).items()):
            if not (inspect.isclass(cls) and issubclass(cls, nn.Module)) or name in _WHOLE:
                continue
            if name.endswith(_HOST) or "ReceptiveField" in name:
                why = "it makes spikes of numbers, or numbers of spikes, for all steps at once"
                yield Row("Norse", name, "refused", why, "run it on the host, outside of the step")
                continue
            cell = _made(cls)
            if cell is None:
                yield Row("Norse", name, "not tried: it is made with arguments of its own")
                continue
            refused = attempt(cell, Path(folder))
            other = _cell_of(name) if isinstance(refused, PurespikeError) else ""
            if other:
                yield Row(
                    "Norse", name, "as the class of its name with `Cell`, which is one step of it"
                )
                continue
            if isinstance(refused, PurespikeError):
                yield Row("Norse", name, "refused", _why(refused), refused.remedy or "")
            else:
                yield Row("Norse", name, f"not tried: {refused}" if refused else "exact")


if __name__ == "__main__":
    for row in rows():
        print(row)
