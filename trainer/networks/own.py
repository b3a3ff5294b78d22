"""A network of the user's own: ``package.module:factory``, or a module that was made already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from purespike.compiler.errors import PurespikeError
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.loops import refusing_single_steps
from purespike.trainer.capture.readout import on_sequences
from purespike.trainer.dotted import MADE, dotted, import_remedy
from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.attached import Attached, attach, logits
from purespike.trainer.networks.failed import counterpart, first_line, place_of

__all__ = [
    "Given",
    "ModuleConfig",
    "OwnNetwork",
    "main_of",
    "own_network",
    "path_of",
    "probe_input",
]

Given = str | nn.Module | Callable[[], nn.Module]
_HEADS = ("main", "aap", "spike")


@dataclass(frozen=True)
class ModuleConfig:
    """A network of the user's own, and the auxiliary paths that it is trained with.

    Attributes:
        module: ``package.module:name`` of an ``nn.Module``, or of a callable without arguments that
            gives one. That code is run. "" stands for a module that was made in memory.
        aap: names of its modules whose spikes the accumulation pathway adds up.
        shortcut: names of its modules that get a shortcut branch.
        steps: time steps T, where the data do not say it: for images.
    """

    module: str
    aap: tuple[str, ...] = ()
    shortcut: tuple[str, ...] = ()
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and (type(self.steps) is not int or self.steps < 1):
            raise ConfigError(
                "steps must be a positive whole number",
                found=repr(self.steps),
                allowed=">= 1",
                where="model.steps",
            )
        if self.module and not _is_dotted(self.module):
            raise ConfigError(
                "this is not a path of a module",
                found=repr(self.module),
                allowed="package.module:name",
                where="model.module",
                remedy="my_net:make names what the file my_net.py calls make",
            )


@dataclass(frozen=True, eq=False)
class OwnNetwork:
    """A module that was made and tried.

    Attributes:
        config: what was made.
        model: takes (T, B, *shape); with its auxiliary paths.
        shape: of the input, at one step of one sample.
        steps: T.
        classes: how many its output tells apart, K.
    """

    config: ModuleConfig
    model: nn.Module
    shape: tuple[int, ...]
    steps: int
    classes: int


def own_network(
    given: Given, config: ModuleConfig, shape: tuple[int, ...], steps: int, *, seed: int = 0
) -> OwnNetwork:
    """Make a module, try it on an input, and attach the auxiliary paths.

    Neurons of SpikingJelly and snnTorch are put behind `Imported`, which feeds them the sequence
    and resets them. Torch's generator is left as it was.

    Args:
        given: a dotted path, whose code is run; a module; or a callable that gives one.
        config: the auxiliary paths.
        shape: of the input, at one step of one sample.
        steps: T.
        seed: of the initial weights, where ``given`` is not a module yet, and of the paths'.

    Raises:
        ConfigError: if there is no such module, it does not run on such an input or gives no
            logits, or a path cannot be attached.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = users_module(given, config.module, ConfigError)
        module = on_sequences(module, shape, steps).train()
        x = probe_input(shape, steps)
        inner = module.model if isinstance(module, Imported) else module
        classes = _classes(module, x, config.module or type(inner).__name__)
        aap, shortcut = (_placed(names, module) for names in (config.aap, config.shortcut))
        model = attach(module, x, classes, aap=aap, shortcut=shortcut, seed=seed)
    return OwnNetwork(config, model, shape, steps, classes)


def path_of(given: Given) -> str:
    """The dotted path by which a later process finds what was given; "" if there is none."""
    if isinstance(given, str):
        return given
    module, name = getattr(given, "__module__", ""), getattr(given, "__qualname__", "")
    path = f"{module}:{name}"
    if isinstance(given, nn.Module) or module == "__main__" or not _is_dotted(path):
        return ""
    try:
        return path if dotted(path) is given else ""
    except (ImportError, AttributeError):
        return ""


def main_of(model: nn.Module) -> nn.Module:
    """The network without its auxiliary paths: the same object that they were attached to."""
    return model.network if isinstance(model, Attached) else model


def probe_input(shape: tuple[int, ...], steps: int) -> Tensor:
    """Random spikes (T, B, *shape), the same each time; B is not T."""
    generator = torch.Generator().manual_seed(0)
    batch = 3 if steps == 2 else 2
    return (torch.rand((steps, batch, *shape), generator=generator) < 0.5).float()


def _placed(names: tuple[str, ...], module: nn.Module) -> tuple[str, ...]:
    """Names of the user's own module where it stands behind `Imported`."""
    if not isinstance(module, Imported):
        return names
    known = dict(module.named_modules())
    inner = "model."  # its attribute
    return tuple(n if n in known or inner + n not in known else inner + n for n in names)


def users_module(given: Given, path: str, error: type[PurespikeError]) -> nn.Module:
    """A torch module of the user's: itself, what makes it, or the dotted path of either.

    Args:
        given: As it was given; a path or a callable runs the user's code.
        path: Its dotted path, or the empty string.
        error: What is raised if it cannot be made, or is not a module.
    """
    where = path or getattr(given, "__qualname__", type(given).__name__)
    found: Any = given
    try:
        if isinstance(given, str):
            found = dotted(given)
        made = found if isinstance(found, nn.Module) else found()
    except PurespikeError:
        raise
    except Exception as e:  # whatever the user's code does
        line, missing = place_of(e), isinstance(e, ModuleNotFoundError)
        remedy = import_remedy(e, path) if path and (missing or found is given) else ""
        if line and not missing:
            remedy = "mend that line, and try again"
        raise error(
            "the code that makes the module fails" if line else "the module cannot be made",
            where=f"{where}, {line}" if line else where,
            found=first_line(e),
            allowed="" if line else MADE,
            remedy=remedy or "name a function without arguments that calls it and gives the module",
        ) from e
    if not isinstance(made, nn.Module):
        raise error(
            "this is not a torch module",
            where=where,
            found=type(made).__name__,
            allowed="an nn.Module, or a callable without arguments that gives one",
        )
    return made


def _classes(module: nn.Module, x: Tensor, where: str) -> int:
    """How many classes the output tells apart, after a look at all that the module returns."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad(), refusing_single_steps(module, len(x)):
            output = module(x)
    except PurespikeError:
        raise
    except Exception as e:  # whatever the user's code does
        raise ConfigError(
            "the module does not run on such an input",
            where=place_of(e) or where,
            found=first_line(e),
            allowed=f"inputs (T, B, ...) = {tuple(x.shape)}, float32",
            remedy=counterpart(e, module)
            or "give data of the shape that the module takes, or change its first layer",
        ) from e
    finally:
        for part, training in modes.items():
            part.training = training
    heads = output if isinstance(output, Mapping) else {"main": output}
    wrong = [n for n in heads if n not in _HEADS and not str(n).startswith("shortcut.")]
    if wrong or "main" not in heads:
        raise ConfigError(
            "the module returns heads that no objective knows",
            where=where,
            found=", ".join(map(str, heads)) or "none",
            allowed="logits; or a dict with 'main', and perhaps 'aap', 'spike', 'shortcut.<l>'",
            remedy="return the logits to deploy under the key 'main'",
        )
    steps, batch = x.shape[:2]
    for name, value in heads.items():
        if value is None and name != "main":
            continue
        form = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        timed = isinstance(value, Tensor) and value.dim() > 2
        if not isinstance(form, tuple) or form[: 1 + timed] != (
            (steps, batch) if timed else (batch,)
        ):
            raise ConfigError(
                "the module gives no logits",
                where=f"{where}, output {name}",
                found=str(form),
                allowed=f"(B, K) or (T, B, K), here with T, B = {steps}, {batch}",
                remedy="put time in front: output.transpose(0, 1)"
                if form[:2] == (batch, steps)
                else "return one number for each class, of a whole sample or of each step; a "
                "forward that takes one step returns (B, K)",
            )
    classes = {n: v.shape[1] if v.dim() > 1 else 0 for n, v in logits(heads).items()}
    if len(set(classes.values())) > 1 or min(classes.values()) < 2:
        raise ConfigError(
            "the heads of the module do not tell classes apart",
            where=where,
            found=", ".join(f"{n}: {k} outputs" for n, k in classes.items()),
            allowed="two classes or more, as many for each head",
        )
    return classes["main"]


def _is_dotted(path: str) -> bool:
    module, colon, name = path.partition(":")
    return bool(colon) and all(
        part.isidentifier() for text in (module, name) for part in text.split(".")
    )
