"""The options that several commands take, as dataclasses: each is listed once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from purespike.compiler.choices import (
    LEVELS,
    WEIGHT_BITS,
    Current,
    Feedback,
    Fires,
    Form,
    IfR,
    LavaMode,
    Method,
    RecurrentBias,
    Reset,
)
from purespike.compiler.errors import UsageError
from purespike.compiler.rules.policy import Policy, read_policy
from purespike.compiler.rules.waiver import Waivers, read_waivers
from purespike.errors import InputError
from purespike.flow.inputs.stated import Stated

if TYPE_CHECKING:
    from purespike.options import Options

Source = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        help="A checkpoint folder, a bundle, a .nir, .onnx, .net or .pt2 file, or a torch module "
        "as package.module:factory.",
    ),
]
HostEncoder = Annotated[
    bool,
    typer.Option(
        "--host-encoder", help="Declare that the first layers, up to spikes, run on the host."
    ),
]


_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def read_seconds(text: str) -> float:
    """The seconds of ``1e-4``, ``0.1ms`` or ``100us``.

    Raises:
        typer.BadParameter: If it is neither.
    """
    number = text.strip().rstrip("µnmus").rstrip()
    unit = text.strip()[len(number) :].strip()
    try:
        # As a decimal: 0.1ms is the same float as 1e-4.
        return float(Decimal(number) * Decimal(str(_UNITS[unit or "s"])))
    except (InvalidOperation, KeyError):
        raise typer.BadParameter(
            f"{text!r} is no time: say seconds, as 1e-4, or a unit of {', '.join(_UNITS)}, as 0.1ms"
        ) from None


@dataclass(frozen=True)
class NetworkOptions:
    """What a NETWORK argument leaves open (`purespike.flow.inputs.stated.Stated`)."""

    dt: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=read_seconds,
            help="NIR, ONNX or netx from another tool: how long a time step lasts, as 1e-4 "
            "(seconds), 0.1ms or 100us.",
        ),
    ] = None
    reset: Annotated[
        Reset | None,
        typer.Option(help="NIR from another tool: what a spike does to the membrane."),
    ] = None
    if_r: Annotated[
        IfR | None,
        typer.Option("--if-r", help="NIR from another tool: IF and I add r * x, or dt * r * x."),
    ] = None
    steps: Annotated[
        int | None, typer.Option(min=1, help="Time steps per sample, where the input does not say.")
    ] = None
    spike_input: Annotated[
        bool,
        typer.Option(
            "--spike-input", help="NIR or ONNX from another tool: its inputs carry spikes."
        ),
    ] = False
    feedback: Annotated[
        Feedback | None,
        typer.Option(
            help="NIR from another tool: an edge that closes a loop carries the previous step."
        ),
    ] = None
    current: Annotated[
        Current | None,
        typer.Option(
            help="NIR from another tool: CubaLI and CubaLIF take the synaptic current after its "
            "update, or before it."
        ),
    ] = None
    recurrent_bias: Annotated[
        RecurrentBias | None,
        typer.Option(
            "--recurrent-bias",
            help="NIR from another tool: the bias in a loop acts from the first step on "
            "(snnTorch), or one step later (Norse).",
        ),
    ] = None
    fires: Annotated[
        Fires | None,
        typer.Option(
            help="NIR from another tool: neurons fire above the threshold (NIR's text, snnTorch, "
            "Norse), or at it as well (SpikingJelly, sinabs, Rockpool)."
        ),
    ] = None
    shape: Annotated[
        str | None,
        typer.Option(
            "--shape",
            help="For a torch module, or a netx file that leaves it open: the shape of a sample at "
            "one step, as C,H,W.",
        ),
    ] = None
    data: Annotated[
        Path | None,
        typer.Option(
            help="A .npz file with inputs (T, B, ...) and labels (B,) for a network that has to be "
            "compiled to be judged; bundles have their own. Without it the inputs are random, and "
            "no accuracy is measured."
        ),
    ] = None
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Run the code that a checkpoint names as its data set."),
    ] = False

    def stated(self) -> Stated:
        """The same, checked."""
        return Stated(**{**vars(self), "shape": read_shape(self.shape)})


@dataclass(frozen=True)
class JudgeOptions:
    """What a team accepts."""

    policy: Annotated[
        str | None,
        typer.Option(
            "--policy",
            help="strict, leaky, paper, or the path of a .toml file; if left out, strict. `check` "
            "takes the one that a bundle records.",
        ),
    ] = None
    waivers: Annotated[
        Path | None, typer.Option("--waivers", help="TOML with the findings that the team accepts.")
    ] = None
    today: Annotated[
        str | None,
        typer.Option(
            "--today", help="The date on which waivers are judged, as 2027-01-31; default: today."
        ),
    ] = None

    def read(self) -> tuple[Policy, Waivers | None]:
        """The policy, and the waivers judged on the day.

        Raises:
            UsageError: If one cannot be read, or the day is not a date.
        """
        return read_policy(self.policy or "strict"), load_waivers(self.waivers, self.today)


@dataclass(frozen=True)
class CompileOptions:
    """What the compiler is told (`purespike.options.Options`)."""

    bits: Annotated[
        int, typer.Option(min=WEIGHT_BITS.low, max=WEIGHT_BITS.high, help="Bits per weight.")
    ] = 8
    samples: Annotated[int, typer.Option("--samples", min=1, help="Samples to run.")] = 64
    lava: Annotated[
        LavaMode,
        typer.Option(
            help="Convolution model on Lava: ours (equal, faster), Lava's own, or no run."
        ),
    ] = "fast"
    calibration: Annotated[
        Method,
        typer.Option(
            help="Scales that hold the largest weight, or 99.9 % of them, or have the least error, "
            "or keep the most spikes on training data."
        ),
    ] = "percentile"
    per_channel: Annotated[
        bool, typer.Option("--per-channel", help="A scale for each channel, where a chip allows.")
    ] = False
    fit_membranes: Annotated[
        bool,
        typer.Option(
            "--fit-membranes", help="Lower scales until no membrane can saturate, for any input."
        ),
    ] = False
    levels: Annotated[
        int,
        typer.Option(
            min=LEVELS.low,
            max=LEVELS.high,
            help="Levels that an activation may have: each becomes a neuron.",
        ),
    ] = 16
    qat: Annotated[
        int, typer.Option(min=0, help="Epochs of quantization-aware fine-tuning before.")
    ] = 0
    onnx: Annotated[
        Form,
        typer.Option(help="Form of model.onnx; qonnx adds model.qonnx.onnx for FPGA flows."),
    ] = "step"
    nir_strict: Annotated[
        bool, typer.Option("--nir-strict", help="Plain NIR nodes only, soft reset too.")
    ] = False
    netx: Annotated[
        bool, typer.Option("--netx", help="Add model.net for lava-dl: sequential networks only.")
    ] = False
    c: Annotated[
        bool, typer.Option("--c", help="Add c/, the network as a C program, and run that, too.")
    ] = False
    c_ram: Annotated[
        int | None,
        typer.Option(
            "--c-ram",
            min=1,
            help="Bytes of working memory that the C program may have; a layer that breaks the "
            "limit is named.",
        ),
    ] = None
    host_encoder: HostEncoder = False

    def options(self, policy: Policy, waivers: Waivers | None) -> Options:
        """The same for `purespike.flow.build.build`."""
        from purespike.options import Options

        said = {k: v for k, v in vars(self).items() if k not in ("bits", "samples")}
        return Options(
            weight_bits=self.bits,
            golden=self.samples,
            lava_samples=self.samples,
            policy=policy,
            waivers=waivers,
            **said,
        )


def load_waivers(path: Path | None, today: str | None) -> Waivers | None:
    """The waivers of a file, judged on a day."""
    if path is None:
        return None
    try:
        day = date.fromisoformat(today) if today else date.today()
    except ValueError as e:
        raise UsageError(
            "--today is not a date", found=str(today), allowed="a date such as 2027-01-31"
        ) from e
    return read_waivers(path, day)


def read_shape(text: str | None) -> tuple[int, ...] | None:
    """The shape in ``1,8,8``; None stays None.

    Raises:
        InputError: If it is not a list of sizes.
    """
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if not all(p.strip().isdigit() and int(p) > 0 for p in parts):
        raise InputError("no shape", found=text, allowed="sizes such as 1,8,8 or 64")
    return tuple(int(p) for p in parts)
