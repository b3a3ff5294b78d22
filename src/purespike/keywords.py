"""What the public calls take by name: the options and statements, listed once, and typed."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import date
from typing import Any, TypedDict, TypeVar, get_type_hints

from purespike.compiler.choices import (
    Current,
    Feedback,
    Fires,
    Form,
    IfR,
    LavaMode,
    Method,
    RecurrentBias,
    Reset,
    as_path,
    require_known,
)
from purespike.compiler.errors import UsageError
from purespike.compiler.rules.policy import Policy, read_policy
from purespike.compiler.rules.waiver import Waivers, read_waivers
from purespike.flow.inputs.stated import Stated
from purespike.options import Options

_Call = TypeVar("_Call", bound=Callable[..., Any])
_Paths = str | os.PathLike[str]


class Statements(TypedDict, total=False):
    """What a network leaves open (`purespike.flow.inputs.stated.Stated`)."""

    dt: float | None
    reset: Reset | None
    if_r: IfR | None
    steps: int | None
    spike_input: bool
    feedback: Feedback | None
    shape: tuple[int, ...] | None
    data: _Paths | None
    current: Current | None
    trust: bool
    recurrent_bias: RecurrentBias | None
    fires: Fires | None


class Judging(Statements, total=False):
    """With what a team accepts."""

    host_encoder: bool
    policy: Policy | _Paths
    waivers: Waivers | _Paths | None


class Compiling(Judging, total=False):
    """With what the compiler is told (`purespike.options.Options`)."""

    weight_bits: int
    calibration: Method
    per_channel: bool
    fit_membranes: bool
    levels: int
    qat: int
    golden: int
    lava: LavaMode
    lava_samples: int
    nir_strict: bool
    onnx: Form
    netx: bool
    c: bool
    c_ram: int | None


def read_keywords(
    said: Mapping[str, Any], known: type, options: Options | None = None
) -> tuple[Options, Stated]:
    """The options and the statements.

    Args:
        said: By name; a policy may be its name or a TOML file, waivers a TOML file of today.
        known: The typed dictionary of what the call takes.
        options: From which what is said here differs.

    Raises:
        UsageError: At a name that is not known, or a value that is not allowed.
        PolicyError, WaiverError: If a file cannot be read.
    """
    require_known(said, get_type_hints(known), "this call")
    if options is not None and not isinstance(options, Options):
        raise UsageError(
            "these are not options",
            found=type(options).__name__,
            allowed="purespike.Options(...), or each by its name",
        )
    stated = {f.name: said[f.name] for f in fields(Stated) if f.name in said}
    told = {name: value for name, value in said.items() if name not in stated}
    if "policy" in told and not isinstance(told["policy"], Policy):
        told["policy"] = read_policy(told["policy"])
    if told.get("waivers") is not None and not isinstance(told["waivers"], Waivers):
        told["waivers"] = read_waivers(as_path(told["waivers"], "waivers"), date.today())
    return replace(options or Options(), **told), Stated(**stated)


def as_changes(
    changes: Mapping[str, Any] | Sequence[str], settings: Mapping[str, Any]
) -> list[str]:
    """Changes of a recipe as the command line writes them, ``train.epochs=5``.

    Args:
        changes: By table and name, or written so already.
        settings: Of the table ``[train]``, by name.
    """
    if isinstance(changes, str):
        changes = [changes]
    if not isinstance(changes, Mapping):
        return [*map(str, changes), *(_change(f"train.{n}", v) for n, v in settings.items())]
    both = {**changes, **{f"train.{name}": value for name, value in settings.items()}}
    return [_change(name, value) for name, value in both.items()]


def _change(name: str, value: Any) -> str:
    if value is None:
        return f"{name}=none"
    try:
        return f"{name}={json.dumps(value, ensure_ascii=False)}"  # such JSON is TOML, too
    except (TypeError, ValueError):
        raise UsageError(
            f"{name} cannot have this value",
            where=name,
            found=type(value).__name__,
            allowed="a text, a number, True, False, None, or a list of those",
        ) from None


def listing(known: type) -> Callable[[_Call], _Call]:
    """Lists each name with its default in the signature that help and notebooks show."""
    defaults = {f.name: f.default for c in (Options, Stated) for f in fields(c)}
    defaults["policy"] = "strict" if known is Compiling else None  # a bundle records its own

    def listed(call: _Call) -> _Call:
        own = [p for p in inspect.signature(call).parameters.values() if p.kind != p.VAR_KEYWORD]
        more = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kind
            )
            for name, kind in get_type_hints(known).items()
        ]
        call.__signature__ = inspect.signature(call).replace(  # type: ignore[attr-defined]
            parameters=[*own, *more]
        )
        return call

    return listed
