"""Classes of sinabs and Rockpool, each through the framework's own NIR exporter: exact, or refused.

What an exporter leaves out (several spikes per step, a leak that is not Euler's) is seen by running
the class itself beside the file that is written of it.
"""

from __future__ import annotations

import inspect
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from torch import nn

from helpers.framework_classes import DOCS, Row
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.interpret import run
from purespike.targets.nir.read import read_nir

STEPS, SAMPLES = 20, 3
FLAT, IMAGE = (4,), (2, 6, 6)
DIFFERS = "its exporter writes something else than it computes"


@dataclass(frozen=True)
class Way:
    """A way to make a class: what is said of it, its module, and what is done to its file."""

    said: str
    make: Callable[[], Any]
    leak: str = ""  # the function of docs/inputs.md that the file goes through
    shape: tuple[int, ...] = FLAT


def snippet(name: str) -> Callable[[nir.NIRGraph, float], None]:
    """A function that docs/inputs.md tells its readers to use, as it stands there."""
    block = next(b for b in DOCS.read_text().split("```python\n")[1:] if f"def {name}(" in b)
    space: dict[str, Any] = {}
    exec(block.split("```")[0], space)  # our own documentation
    made: Callable[[nir.NIRGraph, float], None] = space[name]
    return made


def spikes(shape: tuple[int, ...]) -> Any:
    """(T, B, ...)"""
    return (np.random.default_rng(0).random((STEPS, SAMPLES, *shape)) < 0.4).astype(np.float32)


def outcome(way: Way, called: Callable[[Any, Any], Any], written: Callable[[Any, Any], Any],
            dt: float) -> PurespikeError | str:  # fmt: skip
    """``exact``, or what stands in the way."""
    torch.manual_seed(0)
    try:
        module, x = way.make(), spikes(way.shape)
    except (TypeError, ValueError):
        return "not tried: it is made with arguments of its own"
    with torch.no_grad():
        wanted = called(module, x)
    try:
        file = written(module, x)
    except NotImplementedError:
        return "its exporter does not take it"
    if len(file.nodes) < 4:
        return "its exporter leaves it out of the file without a word"
    if None in file.nodes.values():
        return "its exporter has no node for it"
    try:
        if way.leak:
            snippet(way.leak)(file, dt)
    except RuntimeError as e:  # of a tensor that is trained
        return f"nir does not write its file: {str(e).splitlines()[0]}"
    with tempfile.TemporaryDirectory() as folder:
        try:
            nir.write(Path(folder) / "f.nir", file)
        except (TypeError, RuntimeError) as e:
            return f"nir does not write its file: {str(e).splitlines()[0]}"
        try:
            graph = read_nir(
                Path(folder) / "f.nir", dt=dt, steps=STEPS, domain=SPIKE, reset="subtract",
                if_r="step", current="new", fires="at",
            )  # fmt: skip
        except PurespikeError as e:
            return e
    found = run(graph, x.astype(np.float64)).values[graph.outputs[0]].reshape(wanted.shape)
    assert wanted.std() > 0, f"{way.said} shows nothing"
    whole = np.array_equal(wanted, np.round(wanted))
    same = np.array_equal(found, wanted) if whole else np.allclose(found, wanted, atol=1e-5)
    return "exact" if same else DIFFERS


def row(framework: str, name: str, ways: list[Way], dt: float, **calls: Any) -> Row:
    """The first way that is exact, and else what the first one meets."""
    met = []
    for way in ways:
        found = outcome(way, dt=dt, **calls)
        if found == "exact":
            return Row(framework, name, f"exact with {way.said}" if way.said else "exact")
        met.append(found)
    if isinstance(met[0], PurespikeError):
        e = met[0]
        return Row(framework, name, "refused", f"{e.message}: {e.found}", e.remedy or "")
    if met[0].startswith("not tried"):
        return Row(framework, name, met[0])
    return Row(framework, name, "refused", met[0], "use a class of the rows above")


# ---- sinabs -------------------------------------------------------------------------------------

_LAYERS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "SumPool2d": (IMAGE, {"kernel_size": 2}),
    "Cropping2dLayer": (IMAGE, {"cropping": ((1, 1), (1, 1))}),
    "ChannelShift": (IMAGE, {"channel_shift": 1}),
    "SpikingMaxPooling2dLayer": (IMAGE, {"pool_size": 2}),
    "NeuromorphicReLU": (FLAT, {}),
    "QuantizeLayer": (FLAT, {}),
}


def _sinabs_ways(name: str, cls: Any) -> list[Way]:
    from sinabs.activation import SingleSpike

    if name in _LAYERS:
        shape, options = _LAYERS[name]

        def layer() -> nn.Module:
            first = nn.Conv2d(2, 2, 1, bias=False) if shape == IMAGE else nn.Linear(4, 4)
            return nn.Sequential(first, cls(**options))

        return [Way("", layer, shape=shape)]
    options = {"batch_size": SAMPLES} if "Squeeze" in name else {}
    options |= {"tau_mem": 5.0} if "Leak" in name or "LIF" in name else {}
    options |= {"tau_adapt": 5.0} if "ALIF" in name else {}
    options |= {"rec_connect": nn.Linear(4, 4)} if "Recurrent" in name else {}

    def made(**more: Any) -> Callable[[], nn.Module]:
        def make() -> nn.Module:
            first = nn.Linear(4, 4, bias=False)
            nn.init.normal_(first.weight, 1.5, 2.0)
            return nn.Sequential(first, cls(**options, **more))

        return make

    one = {"spike_fn": SingleSpike}
    ways = [Way("", made()), Way("`sinabs_leak`, above", made(), "sinabs_leak")]
    if "Leak" in name:
        norm = "`norm_input=True` and `sinabs_leak`, above"
        ways.append(Way(norm, made(norm_input=True), "sinabs_leak"))
    else:
        single = "`spike_fn=SingleSpike`"
        ways += [Way(single, made(**one)), Way(f"{single} and `sinabs_leak`, above", made(**one),
                                               "sinabs_leak")]  # fmt: skip
    return ways


def sinabs_rows() -> Iterator[Row]:
    """Each class of sinabs.layers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sinabs.layers as layers
        from sinabs.nir import to_nir

        def flat(model: Any, x: Any) -> Any:
            """Squeeze layers and those of images take samples and steps as one axis."""
            x = torch.from_numpy(x).transpose(0, 1)
            squeezed = hasattr(model[1], "batch_size") or x.dim() > 3
            return x.flatten(0, 1) if squeezed else x

        def called(model: Any, x: Any) -> Any:
            y = model(flat(model, x)).detach()
            y = y.unflatten(0, (SAMPLES, STEPS)) if y.shape[0] != SAMPLES else y
            model[1].reset_states() if hasattr(model[1], "reset_states") else None
            return y.transpose(0, 1).numpy()

        def written(model: Any, x: Any) -> Any:
            file = to_nir(model, flat(model, x))
            if x.ndim > 3:
                file.infer_types()  # the sizes of images, which nir wants and to_nir leaves out
            return file

        for name, cls in sorted(vars(layers).items()):
            if not (inspect.isclass(cls) and issubclass(cls, nn.Module)):
                continue
            if name in ("StatefulLayer", "Repeat", "FlattenTime", "UnflattenTime", "Merge"):
                continue  # abstract, or containers and shapes
            if name in ("Img2SpikeLayer", "Sig2SpikeLayer"):
                why = "it makes spikes of numbers"
                yield Row(
                    "sinabs", name, "refused", why, "run it on the host, in front of the network"
                )
                continue
            yield row("sinabs", name, _sinabs_ways(name, cls), 1.0, called=called, written=written)


# ---- Rockpool -----------------------------------------------------------------------------------


def _rockpool_ways(name: str, cls: Any) -> list[Way]:
    from rockpool.nn.combinators import Sequential
    from rockpool.nn.modules import LinearTorch

    def linear(bias: bool = False) -> Any:
        weight = torch.randn(4, 4) * 2 + 1.5
        return LinearTorch((4, 4), weight=weight, has_bias=bias)

    if name == "LinearTorch":
        return [Way("", lambda: Sequential(linear(True), linear(True)))]
    known = inspect.signature(cls.__init__).parameters
    options: dict[str, Any] = {"shape": (4,)}
    options |= {"dt": 1e-3} if "dt" in known else {}
    options |= {"function": torch.relu} if "function" in known else {}

    def made(**more: Any) -> Callable[[], Any]:
        return lambda: Sequential(linear(), cls(**options, **more))

    taus = [t for t in ("tau_mem", "tau_syn", "tau") if t in known]
    said: dict[str, Any] = dict.fromkeys(taus, torch.tensor(5e-3))
    leak = "rockpool_leak"
    ways = [Way("", made(**said)), Way(f"`{leak}`, above", made(**said), leak)]
    if "spike_generation_fn" not in known:

        def still() -> Any:
            net = made(**said)()
            for p in nn.Module.parameters(net):
                p.requires_grad_(False)
            return net

        ways.append(Way(f"parameters without gradients and `{leak}`, above", still, leak))
    if "max_spikes_per_dt" in known:
        said |= {"max_spikes_per_dt": 1}
        ways.append(Way(f"`max_spikes_per_dt=1` and `{leak}`, above", made(**said), leak))
        if "bias" in known:
            said |= {"bias": torch.tensor(0.0)}
            words = "`bias=torch.tensor(0.0)`, `max_spikes_per_dt=1`"
            ways.append(Way(f"{words} and `{leak}`, above", made(**said), leak))
    return ways


def rockpool_rows() -> Iterator[Row]:
    """Each torch class of rockpool.nn.modules; its exporter takes no others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import rockpool.nn.modules as modules
        from rockpool.nn.modules.torch.nir import to_nir

        def called(model: Any, x: Any) -> Any:
            y = model(torch.from_numpy(x).transpose(0, 1).contiguous())[0].detach()
            model.reset_state()
            return y.transpose(0, 1).numpy()

        for name, cls in sorted(vars(modules).items()):
            known = inspect.isclass(cls) and issubclass(cls, modules.TorchModule)
            if "Exodus" in name or name == "LIFSlayer":
                yield Row("Rockpool", name, "not tried: it runs on CUDA alone")
            elif known and cls is not modules.TorchModule:
                yield row("Rockpool", name, _rockpool_ways(name, cls), 1e-3, called=called,
                          written=lambda m, x: to_nir(m, torch.zeros(1, STEPS, 4)))  # fmt: skip


if __name__ == "__main__":
    for r in (*sinabs_rows(), *rockpool_rows()):
        print(r)
