"""Every neuron and layer class of the installed frameworks, tried: captured exactly, or refused.

``python tests/helpers/framework_classes.py`` writes the tables of docs/inputs.md anew.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.interpret import run
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.interop.spikingjelly import STEPWISE
from purespike.trainer.capture.precision import InFloat64
from purespike.trainer.capture.trace import capture
from purespike.trainer.nn.layers import Conv2d

STEPS, SAMPLES = 5, 4
IMAGE, SIGNAL, FLAT = (4, 6, 6), (4, 1, 6), (4,)
DOCS = Path(__file__).parents[2] / "docs" / "inputs.md"
BEGIN, END = "<!-- classes: begin -->", "<!-- classes: end -->"


@dataclass(frozen=True)
class Row:
    """One class.

    Attributes:
        framework: And its version.
        name: Of the class.
        outcome: ``exact``, ``exact with (option)``, ``refused``, or why it was not tried.
        why: Why it is refused.
        remedy: What to do instead.
    """

    framework: str
    name: str
    outcome: str
    why: str = ""
    remedy: str = ""


class Squeezed(nn.Module):
    """Signals (C, 1, L) as (C, L)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Without the axis."""
        return self.body(x.squeeze(-2))


# What to call a class with; all others are called with nothing, or with the number of channels.
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("Conv1d", "Conv2d", "Conv3d", "WSConv2d"), (4, 4, 3)),
    **dict.fromkeys(("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"), (4, 4, 3, 2)),
    **dict.fromkeys(("Linear", "WSLinear", "DropConnectLinear"), (4, 4)),
    **dict.fromkeys(
        ("MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d",
         "LPPool1d", "LPPool2d", "FractionalMaxPool2d", "MaxUnpool1d", "MaxUnpool2d",
         "MaxUnpool3d", "PixelShuffle", "PixelUnshuffle", "Unfold"), (2,)),
    **dict.fromkeys(
        ("AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
         "AdaptiveMaxPool2d", "AdaptiveMaxPool3d"), (3,)),
    **dict.fromkeys(("GroupNorm",), (2, 4)),
    **dict.fromkeys(("LayerNorm", "RMSNorm"), ([4, 6, 6],)),
    "Leaky": (0.75,), "RLeaky": (0.75,), "Lapicque": (0.75,), "Synaptic": (0.5, 0.75),
    "RSynaptic": (0.5, 0.75), "Alpha": (0.75, 0.5), "DeltaLeaky": (0.75,), "LIF": (0.75,),
    "Upsample": (None, 2), "VotingLayer": (2,), "Fold": ((6, 6), 2),
    "ThresholdDependentBatchNorm1d": (1.0, 1.0, 4), "ThresholdDependentBatchNorm2d": (1.0, 1.0, 4),
    "MultiheadAttention": (4, 2), "LSTM": (4, 4), "GRU": (4, 4), "RNN": (4, 4),
    "LSTMCell": (4, 4), "GRUCell": (4, 4), "RNNCell": (4, 4), "Bilinear": (4, 4, 4),
    "Unflatten": (1, (2, 2)),
}  # fmt: skip
_HIDDEN = {"init_hidden": True, "threshold": 0.4}
_OPTIONS: dict[str, dict[str, Any]] = {
    "Leaky": _HIDDEN, "Lapicque": _HIDDEN, "Synaptic": _HIDDEN, "Alpha": _HIDDEN,
    "RLeaky": {"init_hidden": True, "all_to_all": False},
    "RSynaptic": {"init_hidden": True, "all_to_all": False},
}  # fmt: skip
# Where the class as it stands is refused: (what to say, its arguments).
_INSTEAD: dict[str, tuple[str, dict[str, Any]]] = {
    "ConvTranspose2d": ("stride=1", {"stride": 1}),
    "TernaryIFNode": ("v_reset=None", {"v_reset": None}),
    "TernaryLIFNode": ("v_reset=None", {"v_reset": None}),
    "NonSpikingIFNode": ("decode='last_mem'", {"decode": "last_mem"}),
    "NonSpikingLIFNode": ("decode='last_mem'", {"decode": "last_mem", "tau": 2.0}),
}
_NO_LAYERS = ("Sequential", "Container", "DataParallel", "SpikingNeuron", "SyncBatchNorm")
_FLAT = ("Linear", "WSLinear", "VotingLayer", "DropConnectLinear")


def _shapes(name: str) -> list[tuple[int, ...]]:
    """What to try a class on, the likeliest first."""
    if name in _FLAT:
        return [FLAT]
    return [SIGNAL, FLAT] if "1d" in name else [IMAGE]


def _made(cls: type[nn.Module], **more: Any) -> nn.Module | None:
    options = _OPTIONS.get(cls.__name__, {}) if cls.__module__.startswith("snntorch") else {}
    given = _ARGUMENTS.get(cls.__name__)
    for arguments in [given] if given is not None else [(), (4,)]:
        try:
            if "stride" in more:
                arguments = arguments[:3]
            return cls(*arguments, **(options | more))
        except Exception:  # of another signature
            continue
    return None


def attempt(module: nn.Module, shape: tuple[int, ...], neuron: bool) -> PurespikeError | None:
    """Capture a module and compare with it in float64; what refuses it.

    Raises:
        AssertionError: If it is captured as something else than it computes.
    """
    torch.manual_seed(0)
    body: list[nn.Module] = [module]
    many = False
    if neuron:
        many = (
            getattr(module, "step_mode", "m") == "m" and "spikingjelly" in type(module).__module__
        )
        weights: nn.Conv2d = Conv2d(4, 4, 1) if many else nn.Conv2d(4, 4, 1)
        nn.init.normal_(weights.weight, 0.3, 0.5)
        body.insert(0, weights)
    net: nn.Module = nn.Sequential(*body)
    net = Squeezed(net) if shape == SIGNAL else net
    takes: Any = "sequence" if getattr(module, "step_mode", "") == "m" or many else None
    x = (np.random.default_rng(0).random((STEPS, SAMPLES, *shape)) < 0.5).astype(np.float64)
    try:
        model = Imported(net.double().eval(), takes)
        graph = capture(model, shape, STEPS).graph
    except PurespikeError as e:
        return e
    with torch.no_grad(), InFloat64():
        wanted = model(torch.from_numpy(x)).numpy()
    found = run(graph, x).values[graph.outputs[0]]
    found = found if found.size == wanted.size else found[-1]
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=0, atol=1e-12)
    if neuron and graph.edge(graph.outputs[0]).domain.step == 1:
        np.testing.assert_array_equal(found.reshape(wanted.shape), wanted)
        assert wanted.min() < wanted.max(), f"{type(module).__name__} shows nothing"
    return None


def _classes(space: Any, root: str) -> Iterator[type[nn.Module]]:
    for name in sorted(dir(space)):
        cls = getattr(space, name)
        if not (inspect.isclass(cls) and issubclass(cls, nn.Module)) or name.startswith("_"):
            continue
        other = name.startswith(("Lazy", "Parameter", "Module")) or name in _NO_LAYERS
        abstract = any(word in name for word in ("Base", "Container", "Loss"))
        if cls.__module__.startswith(root) and not abstract and not other:
            yield cls


def rows(
    framework: str, classes: Iterator[type[nn.Module]], neurons: bool, prepare: Callable[..., None]
) -> Iterator[Row]:
    """Each class, tried."""
    for cls in classes:
        name = cls.__name__
        module = _made(cls)
        if module is None:
            yield Row(framework, name, "not tried: it is made with arguments of its own")
            continue
        prepare(module)
        refusals = []
        for shape in _shapes(name):
            refused = attempt(module, shape, neurons)
            if refused is None:
                break
            refusals.append(refused)
        else:
            said = _INSTEAD.get(name)
            if said is not None:
                other = _made(cls, **said[1])
                assert other is not None, name
                prepare(other)
                if attempt(other, _shapes(name)[0], neurons) is None:
                    yield Row(framework, name, f"exact with `{said[0]}`")
                    continue
            first = refusals[0]
            why = first.message.partition(": ")[2] or "no operation of the graph computes it"
            remedy = first.remedy if ": " in first.message else "leave it out"
            if first.allowed and "no exact form" in first.message:
                why = f"needs {first.allowed}"
            yield Row(framework, name, "refused", why, remedy)
            continue
        yield Row(framework, name, "exact")


def tables() -> dict[str, list[Row]]:
    """All rows by framework."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import snntorch
        from spikingjelly.activation_based import layer, neuron

        def nothing(module: nn.Module) -> None: ...

        def sequences(module: Any) -> None:
            if hasattr(module, "step_mode") and type(module).__name__ not in STEPWISE:
                try:
                    module.step_mode = "m"
                except ValueError:
                    module.step_mode = "s"

        made = {
            "torch": rows("torch", _classes(nn, "torch.nn.modules"), False, nothing),
            "snnTorch": rows("snnTorch", _classes(snntorch, "snntorch"), True, nothing),
            "SpikingJelly neurons": rows(
                "SpikingJelly", _classes(neuron, "spikingjelly"), True, sequences
            ),
            "SpikingJelly layers": rows(
                "SpikingJelly", _classes(layer, "spikingjelly"), False, sequences
            ),
        }
        from helpers import (
            classes_of_brevitas,
            classes_of_nir_tools,
            classes_of_norse,
            classes_of_slayer,
        )

        made |= {
            "Norse": classes_of_norse.rows(),
            "sinabs": classes_of_nir_tools.sinabs_rows(),
            "Rockpool": classes_of_nir_tools.rockpool_rows(),
            "lava-dl": classes_of_slayer.rows(),
            "Brevitas": classes_of_brevitas.rows(),
        }
        return {k: list(v) for k, v in made.items()}


def markdown() -> str:
    """The tables, one line a reason."""
    lines = []
    for title, found in tables().items():
        lines += [f"**{title}**", "", "| outcome | classes |", "|---|---|"]
        groups: dict[tuple[str, str, str], list[str]] = {}
        for row in found:
            groups.setdefault((row.outcome, row.why, row.remedy), []).append(row.name)
        for (outcome, why, remedy), names in sorted(groups.items(), key=lambda g: g[0]):
            remedy = remedy[:1].upper() + remedy[1:]
            said = outcome if outcome != "refused" else f"refused: {why}. {remedy}".rstrip(". ")
            lines.append(f"| {said.replace('|', '/')} | {', '.join(names)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Write the tables into docs/inputs.md."""
    text = DOCS.read_text()
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    DOCS.write_text(f"{head}{BEGIN}\n\n{markdown()}\n{END}{tail}")


if __name__ == "__main__":
    main()
