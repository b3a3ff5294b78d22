"""A program of ``torch.export`` as a module again, which capture reads like any other.

While exporting, the neurons and gates of this trainer write themselves as one operation each,
``purespike::neuron`` and ``purespike::gate``; all else is torch's ``aten`` operations. Each becomes
the module it came from, at its path. An operation without a meaning in the graph stops the reading
with its node and module path: nothing is skipped, guessed or degraded.

Layers merge time and samples, (T, B, ...) to (T B, ...), and split them again. Both are views with
fixed sizes; of each value it is kept in which form it is, so that a neuron that met (T B, ...),
which it would take for more steps, is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from purespike.trainer.capture.archive import Archive, Call, read_archive
from purespike.trainer.capture.aten import (
    OPERATIONS,
    SAID,
    Form,
    reason,
    refuse_comparison,
    refused,
)
from purespike.trainer.capture.conversions import CaptureError
from purespike.trainer.nn import layers

__all__ = ["Exported", "Program", "read_exported"]


_VIEWS = ("reshape.default", "view.default", "flatten.using_ints", "squeeze.dim", "unflatten.int")
_NOTHING = ("contiguous.default", "clone.default", "detach.default", "alias.default")
_DROPOUTS = ("dropout.default", "feature_dropout.default", "alpha_dropout.default")
_FOLDED: dict[str, Callable[..., Tensor]] = {  # on parameters alone
    "mul.Tensor": lambda self, other: self * other,
    "sigmoid.default": lambda self: self.sigmoid(),
    "rsub.Scalar": lambda self, other: other - self,
}


class Program(nn.Module):
    """Modules, called one after the other on named values.

    Args:
        calls: the path of each module, the values that it takes and the one that it makes.
        modules: by path.
        outputs: what is returned, by key.
    """

    def __init__(
        self,
        calls: tuple[tuple[str, tuple[str, ...], str], ...],
        modules: Mapping[str, nn.Module],
        outputs: Mapping[str, str],
    ) -> None:
        super().__init__()
        self._calls, self._outputs = calls, dict(outputs)
        for path, module in modules.items():
            at: nn.Module = self
            *above, name = path.split(".")
            for part in above:
                if part not in at._modules:
                    at.add_module(part, nn.Module())
                at = at.get_submodule(part)
            at.add_module(name, module)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Run the program on (T, B, ...)."""
        values = {"": x}
        for path, reads, makes in self._calls:
            values[makes] = self.get_submodule(path)(*(values[r] for r in reads))
        return {key: values[name] for key, name in self._outputs.items()}


@dataclass(frozen=True)
class Exported:
    """What was read.

    Attributes:
        module: Computes what the program does, for any number of samples.
        shape: Of one sample at one step, as exported.
        steps: T, as exported.
    """

    module: Program
    shape: tuple[int, ...]
    steps: int


def read_exported(path: Path) -> Exported:
    """Read a ``.pt2`` file that ``torch.export.save`` wrote. No code of the file runs.

    Raises:
        CheckpointError: If the file is damaged or keeps something as a pickle.
        CaptureError: If the program does something that the graph has no operation for; the message
            names the node and its module.
    """
    return _Reader(read_archive(path), str(path)).exported()


class _Reader:
    """One pass over the calls of a program, in order."""

    def __init__(self, archive: Archive, where: str) -> None:
        self.archive = archive
        self.where = where
        self.constants = dict(archive.constants)
        self.modules: dict[str, nn.Module] = {}
        self.calls: list[tuple[str, tuple[str, ...], str]] = []
        self._made: dict[str, tuple[Any, ...]] = {}  # what each module was made of
        self._values: dict[str, tuple[str, Form]] = {}  # what the program calls it: ours
        self._paths = {call.path for call in archive.calls}

    def exported(self) -> Exported:
        steps, _, *shape = self._input()
        for call in self.archive.calls:
            refuse_comparison(call)
        for call in self.archive.calls:
            try:
                self._visit(call)
            except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as e:
                raise refused(call, f"its arguments are not as its schema says ({e})") from None
        for key, name in self.archive.outputs.items():
            if name not in self._values:
                raise CaptureError("an output is not a value of the network", where=key, found=name)
        outputs = {key: self._values[name][0] for key, name in self.archive.outputs.items()}
        self._mark_auxiliary(outputs["main"])
        module = Program(tuple(self.calls), self.modules, outputs).eval()
        return Exported(module, tuple(shape), steps)

    def _mark_auxiliary(self, main: str) -> None:
        """What the main output does not depend on is training-only: no mark of it is exported."""
        needed = {main}
        for _, reads, makes in reversed(self.calls):
            needed.update(reads if makes in needed else ())
        kept = {path for path, _, makes in self.calls if makes in needed}
        for path, module in self.modules.items():
            if path not in kept:
                module.auxiliary = True  # type: ignore[assignment]

    def _input(self) -> tuple[int, ...]:
        inputs = self.archive.inputs
        sizes = self.archive.sizes.get(inputs[0]) if len(inputs) == 1 else None
        if sizes is None or len(sizes) < 3:
            raise CaptureError(
                "the program must take exactly one sequence",
                where=self.where,
                found=", ".join(f"{n} {self.archive.sizes.get(n, '')}" for n in inputs),
                allowed="(T, B, ...)",
                remedy="export a module that takes one tensor",
            )
        fixed = tuple(size for size in sizes if size is not None)
        if len(fixed) < len(sizes):
            raise CaptureError(
                "the program was exported for inputs of several sizes",
                where=self.where,
                found=str(sizes),
                allowed="fixed sizes; what is compiled takes any number of samples all the same",
                remedy="export it without dynamic_shapes",
            )
        self._values[inputs[0]] = ("", "sequence")
        self.steps, self.samples = fixed[:2]
        return fixed

    def _visit(self, call: Call) -> None:
        space, _, op = call.target.partition(".")
        if call.tensors and all(name in self.constants for name in call.tensors.values()):
            fold = _FOLDED.get(op) if space == "aten" else None
            if fold is None:
                return  # a count of batches, say; who reads its value is refused
            given = {k: self.constants[v] for k, v in call.tensors.items()}
            self.constants[call.outputs[0]] = fold(**given, **call.options)
        elif space == "aten" and op in _VIEWS:
            self._view(call)
        elif space == "aten" and (op in _NOTHING or op in _DROPOUTS):
            if call.options.get("train"):
                raise refused(call, "it drops at random", "model.eval() before exporting")
            first = next(iter(call.tensors.values()))
            self._values[call.outputs[0]] = self._value(call, first)
        else:
            self._operation(call)

    def _value(self, call: Call, name: str) -> tuple[str, Form]:
        if name not in self._values:
            raise refused(call, f"it reads {name}, which is not a value of the network")
        return self._values[name]

    def _sizes(self, call: Call, name: str) -> tuple[int, ...]:
        sizes = tuple(s for s in self.archive.sizes[name] if s is not None)
        if len(sizes) < len(self.archive.sizes[name]):
            raise refused(call, "its sizes are not fixed", "export without dynamic_shapes")
        return sizes

    def _view(self, call: Call) -> None:
        """Follow a view: it merges time and samples, splits them, flattens the rest, or nothing."""
        name, form = self._value(call, call.tensors.get("self", ""))
        old, new = self._sizes(call, call.tensors["self"]), self._sizes(call, call.outputs[0])
        lead: dict[Form, tuple[int, ...]] = {
            "sequence": (self.steps, self.samples),
            "merged": (self.steps * self.samples,),
            "mean": (self.samples,),
        }
        rest = old[len(lead[form]) :]
        meanings: list[tuple[Form, bool]] = []
        others: tuple[Form, ...] = ("mean",) if form == "mean" else ("sequence", "merged")
        for other in others:
            for flat in (False, True) if len(rest) > 1 else (False,):
                if new == (*lead[other], *((math.prod(rest),) if flat else rest)):
                    meanings.append((other, flat))
        if len(meanings) != 1:
            raise refused(
                call,
                f"it makes {new} of {old}: "
                + ("more than one meaning" if meanings else "it mixes steps, samples or channels"),
                "merge or split time and samples, or flatten all behind them"
                + ("; export with at least 2 samples" if meanings else ""),
            )
        ((form, flat),) = meanings
        if flat:
            name = self._call(call, "flatten", layers.Flatten, (), (name,))
        self._values[call.outputs[0]] = (name, form)

    def _operation(self, call: Call) -> None:
        known = OPERATIONS.get(call.target)
        if known is None:
            raise refused(call, *reason(call))
        values = {k: v for k, v in call.tensors.items() if v not in self.constants}
        given = {k: self.constants[v] for k, v in call.tensors.items() if v in self.constants}
        if set(values) != set(known.values):
            named = ", ".join(known.values)
            raise refused(call, f"values of the network as {', '.join(values)}, not as {named}")
        reads, forms = zip(*(self._value(call, values[k]) for k in known.values), strict=True)
        sizes = [self._sizes(call, values[k]) for k in known.values]
        if len(set(forms)) > 1 or len(set(sizes)) > 1:
            raise refused(call, f"it joins tensors of different form: {sizes}")
        if forms[0] not in known.forms:
            raise refused(
                call,
                f"it meets {SAID[forms[0]]}, {sizes[0]}",
                "give it " + " or ".join(SAID[f] for f in known.forms),
            )
        options = {**call.options, **given}
        make = known.make(call, sizes[0], options)
        key = (call.target, *sorted((k, str(v)) for k, v in call.options.items()))
        key = (*key, *sorted((k, v) for k, v in call.tensors.items() if k in given))
        name = self._call(call, known.kind, make, key, reads)
        form: Form = "mean" if known.kind == "mean" else forms[0]
        self._values[call.outputs[0]] = (name, form)

    def _call(
        self,
        call: Call,
        kind: str,
        make: Callable[[], nn.Module],
        key: tuple[Any, ...],
        reads: tuple[str, ...],
    ) -> str:
        """Call a module, the one that was made of the same before; return what its value is."""
        path = self._path(call, kind, (kind, *key))
        if path not in self.modules:
            self.modules[path] = make()
            self._made[path] = (kind, *key)
        name = f"{path}#{len(self.calls)}"
        self.calls.append((path, reads, name))
        return name

    def _path(self, call: Call, kind: str, key: tuple[Any, ...]) -> str:
        """The path of the module, if the call is all that it does; else a path inside of it."""
        path = call.path
        if not self._alone(call):
            path = f"{path}.{kind}" if path else kind
            fresh = (f"{path}-{k}" if k > 1 else path for k in range(1, len(self.calls) + 2))
            return next(p for p in fresh if p not in self.modules and p not in self._paths)
        if path not in self.modules or self._made[path] == key:
            return path
        raise refused(call, f"{path} did something else when it was called before")

    def _alone(self, call: Call) -> bool:
        inside = call.path + "."
        if not call.path or any(p.startswith(inside) for p in self._paths):
            return False
        return sum(c.scope == call.scope and self._works(c) for c in self.archive.calls) == 1

    def _works(self, call: Call) -> bool:
        if call.target.removeprefix("aten.") in _VIEWS:
            return call.kind.endswith(".Flatten")
        return call.target in OPERATIONS
