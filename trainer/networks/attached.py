"""Auxiliary paths beside a network of the user's own, attached to its modules by name.

The network itself is left as it is: what the named modules put out is noted while it runs, and the
paths read it. Their modules are marked as training-only, so that capture sees them as auxiliary and
the compiler removes them; the deployed output is the network's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx, nn

from purespike.trainer.capture.interop import recognize as interop
from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.units import draw_weights
from purespike.trainer.nn.auxiliary import (
    AapDownsample,
    AapProjection,
    Accumulate,
    AuxiliaryLinear,
    PooledFeatures,
    ShortcutBranch,
)
from purespike.trainer.nn.levels import ILIF

__all__ = ["AccumulationPathway", "Attached", "attach", "logits"]


class AccumulationPathway(nn.Module):
    """The pathway beside a chain of places (AAP paper, Eq. 11): ``a' = down(a) + spikes``.

    It begins with the spikes of the first place and has a classifier of its own.

    Args:
        shapes: of the spikes at the places, in their order: (C, H, W), or (F,).
        names: of the places, for errors.
        classes: K.

    Raises:
        ConfigError: if it cannot be carried from one place to the next.
    """

    auxiliary: bool = True

    def __init__(
        self, shapes: Sequence[tuple[int, ...]], names: Sequence[str], classes: int
    ) -> None:
        super().__init__()
        places = list(zip(names, shapes, strict=True))
        self.down = nn.ModuleList(_carry(*one, *other) for one, other in pairwise(places))
        self.add = Accumulate()
        self.features = PooledFeatures(images=len(shapes[-1]) == 3)
        self.fc = AuxiliaryLinear(shapes[-1][0], classes)

    def forward(self, spikes: Sequence[Tensor]) -> Tensor:
        """Classify what was accumulated: (T, B, *shape) at each place to (B, K)."""
        a = spikes[0]
        for down, o in zip(self.down, spikes[1:], strict=True):
            a = self.add(down(a), o)
        logits: Tensor = self.fc(self.features(a))
        return logits


class Attached(nn.Module):
    """A network with auxiliary paths that read what modules of it put out.

    Args:
        network: takes (T, B, ...); its output stays what is deployed.
        aap: names of the modules whose spikes are accumulated, in the order in which they run.
        shortcut: names of the modules that get a branch.
        shapes: of what each of them puts out, at one step of one sample.
        stepped: those that run once a step and not once a sequence.
        classes: K.

    Raises:
        ConfigError: if the pathway cannot be carried from one place to the next.
    """

    def __init__(
        self,
        network: nn.Module,
        aap: Sequence[str],
        shortcut: Sequence[str],
        shapes: Mapping[str, tuple[int, ...]],
        stepped: Iterable[str],
        classes: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.places = (tuple(aap), tuple(shortcut))
        self.stepped = frozenset(stepped)
        if aap:
            self.aap = AccumulationPathway([shapes[n] for n in aap], aap, classes)
        self.branches = nn.ModuleList(
            ShortcutBranch(shapes[n][0], classes, images=len(shapes[n]) == 3) for n in shortcut
        )

    def forward(self, x: Tensor) -> dict[str, Any]:
        """Return the network's own output as ``'main'``, and the logits of the auxiliary heads.

        Args:
            x: (T, B, ...), as the network takes it.
        """
        aap, shortcut = self.places
        output, seen = observed(self.network, dict.fromkeys((*aap, *shortcut)), x)
        heads = dict(output) if isinstance(output, Mapping) else {"main": output}
        join = isinstance(x, Tensor)  # in a trace, time is implicit
        values = {
            name: torch.stack(pieces) if join and name in self.stepped else pieces[0]
            for name, pieces in seen.items()
        }
        if aap:
            heads["aap"] = self.aap([values[name] for name in aap])
        for name, branch in zip(shortcut, self.branches, strict=True):
            heads[f"shortcut.{name}"] = branch(values[name])
        return heads


def logits(output: Any) -> dict[str, Tensor]:
    """Logits (B, K) by head of what any network returns; sequences are averaged over time."""
    heads = output if isinstance(output, Mapping) else {"main": output}
    return {
        name: value.mean(0).flatten(1) if value.dim() > 2 else value
        for name, value in heads.items()
        if value is not None
    }


def attach(
    network: nn.Module,
    x: Tensor,
    classes: int,
    *,
    aap: Iterable[str] = (),
    shortcut: Iterable[str] = (),
    seed: int = 0,
) -> nn.Module:
    """The network with auxiliary paths at the named modules; without names it is left alone.

    Args:
        network: the network.
        x: some input, (T, B, ...) with T other than B, to see what the modules put out.
        classes: K.
        aap: names of the modules whose spikes are accumulated, in any order.
        shortcut: names of the modules that get a branch.
        seed: of the weights of the paths.

    Raises:
        ConfigError: if there is no such module, or what it puts out cannot have such a path.
    """
    accumulated, branched = tuple(dict.fromkeys(aap)), tuple(dict.fromkeys(shortcut))
    names = dict.fromkeys((*accumulated, *branched))
    if not names:
        return network
    modules = dict(network.named_modules())
    for name in names:
        if name not in modules or not name:
            _refuse_name(name, modules)
        if interop.is_container(modules[name]):
            raise _refused(
                name,
                "a container has no output of its own to read",
                type(modules[name]).__name__,
                "a neuron in it or behind it, or the module around it",
            )
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.enable_grad():
            output, seen = observed(network, names, x)
            heads = logits(output)
            for name in names:
                _require_gradient(heads["main"], seen.get(name, []), name)
    finally:
        for module, training in modes.items():
            module.training = training
    if (accumulated and "aap" in heads) or any(h.startswith("shortcut.") for h in heads):
        raise _refused(
            ", ".join(names), "the network has auxiliary heads already", ", ".join(heads)
        )
    shapes, stepped = {}, []
    for name in names:
        value, steps = _sequence(seen[name], x, name)
        shapes[name] = tuple(value.shape[2:])
        stepped += [name] if steps else []
        worths = [m.worth for m in modules[name].modules() if isinstance(m, ILIF)]
        counts = value / min(worths, default=1.0)
        spikes = counts == counts.round() if worths else (value == 0) | (value == 1)
        if name in accumulated and not bool(spikes.all()):
            low, high = float(value.detach().min()), float(value.detach().max())
            raise _refused(
                name,
                "the accumulation pathway adds up spikes, and this module puts out none",
                f"{type(modules[name]).__name__}: values from {low:.3g} to {high:.3g}",
                "spikes, 0 and 1: name a neuron, or a block that ends with one",
            )
    order = [name for name in seen if name in accumulated]
    if len(order) == 1:
        raise _refused(
            order[0],
            "the accumulation pathway needs places to accumulate",
            "one place",
            "two or more, such as the output of each block; for one, attach a shortcut",
        )
    whole = Attached(network, order, branched, shapes, stepped, classes)
    inner = set(network.modules())
    draw_weights(
        (m for m in whole.modules() if m not in inner), torch.Generator().manual_seed(seed)
    )
    return whole


def observed(network: nn.Module, names: Iterable[str], x: Any) -> tuple[Any, dict[str, list[Any]]]:
    """Run a network, and note what the named modules put out, a piece a call.

    In a trace, what stands for it: hooks do not see the modules that tracing stops at.
    """
    seen: dict[str, list[Any]] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            spikes = output[0] if isinstance(output, tuple | list) else output
            seen.setdefault(name, []).append(spikes)

        return hook

    modules = {name: network.get_submodule(name) for name in names}
    hooks = [module.register_forward_hook(note(name)) for name, module in modules.items()]
    try:
        output = network(x)
    finally:
        for hook in hooks:
            hook.remove()
    if isinstance(x, fx.Proxy):
        seen.update({n: _traced(m, x) for n, m in modules.items() if n not in seen})
    return output, seen


def _traced(module: nn.Module, x: fx.Proxy) -> list[Any]:
    tracer: Any = x.tracer
    path = tracer.path_of_module(module)
    calls = [n for n in tracer.graph.nodes if n.op == "call_module" and n.target == path]
    found = [tracer.proxy(node) for node in calls]
    return [pair[0] for pair in found] if interop.gives_state(module) else found


def _sequence(pieces: list[Any], x: Tensor, name: str) -> tuple[Tensor, bool]:
    """(T, B, ...), and whether the module runs once per step; T and B of ``x`` differ."""
    first = pieces[0]
    if isinstance(first, Tensor) and first.shape[:1] == x.shape[1:2] and len(pieces) == len(x):
        first, stepped = torch.stack(pieces), True
    elif len(pieces) > 1:
        raise _refused(
            name, "this module runs several times", f"{len(pieces)} calls", "one for each sequence"
        )
    else:
        stepped = False
    if not isinstance(first, Tensor) or first.dim() not in (3, 5) or first.shape[:2] != x.shape[:2]:
        found = f"shape {tuple(first.shape)}" if isinstance(first, Tensor) else type(first).__name__
        raise _refused(
            name,
            "an auxiliary path cannot read what this module puts out",
            found,
            f"(T, B, C, H, W) or (T, B, F), here with T, B = {len(x)}, {x.shape[1]}",
        )
    return first, stepped


def _require_gradient(main: Tensor, pieces: list[Any], name: str) -> None:
    if not pieces:
        raise _refused(name, "the network does not run this module", "no call", "one call")
    tensors = [p for p in pieces if isinstance(p, Tensor) and p.requires_grad]
    found: Sequence[Tensor | None] = ()
    if tensors and main.requires_grad:
        found = torch.autograd.grad(main.sum(), tensors, retain_graph=True, allow_unused=True)
    if all(g is None for g in found):
        raise _refused(
            name,
            "the deployed output does not depend on this module, so a path there trains nothing",
            "no gradient" if tensors else "no weights in front of it that are trained",
            "a module between the input and the output",
        )


def _carry(name: str, shape: tuple[int, ...], other: str, wanted: tuple[int, ...]) -> nn.Module:
    """What brings the pathway from the shape of one place to that of the next."""
    if shape == wanted:
        return nn.Identity()
    if len(shape) == len(wanted) == 1:
        return AapProjection(shape[0], wanted[0])
    if len(shape) == len(wanted) == 3:
        for stride in range(1, max(shape[1:]) + 1):
            if tuple((side - 1) // stride + 1 for side in shape[1:]) == wanted[1:]:
                return AapDownsample(shape[0], wanted[0], stride)
    raise _refused(
        other,
        "the accumulation pathway cannot be carried to this module",
        f"{wanted} behind {shape} of {name}",
        "images that keep their size or shrink by one stride in height and width, or vectors "
        "throughout",
        "leave one of the two out",
    )


def _refuse_name(name: str, modules: Mapping[str, nn.Module]) -> None:
    known = [n for n in modules if n]
    close = get_close_matches(name, known, 3, 0.4) or known[:12]
    more = f" ({len(known)} modules)" if len(known) > len(close) else ""
    raise _refused(name, "the network has no such module", repr(name), ", ".join(close) + more)


def _refused(
    name: str, message: str, found: str, allowed: str = "", remedy: str = ""
) -> ConfigError:
    return ConfigError(
        message,
        found=found,
        allowed=allowed,
        where=f"auxiliary path at {name}",
        remedy=remedy or "name another module, or leave this path out",
    )
