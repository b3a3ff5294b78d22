"""purespike compile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from purespike.cli.commands.inputs import (
    Current,
    Data,
    Dt,
    Feedback,
    Fires,
    IfR,
    RecurrentBias,
    Reset,
    ShapeText,
    Source,
    SpikeInput,
    Steps,
    Trust,
    read_shape,
)
from purespike.cli.commands.report import PolicyName, Today, WaiverFile, load_waivers
from purespike.cli.commands.shared import (
    HostEncoder,
    Output,
    Samples,
    err,
    write_build,
)
from purespike.cli.console import progress_bars
from purespike.compiler.files.kinds import BUNDLE
from purespike.compiler.files.outputs import require_folder
from purespike.compiler.rules.policy import read_policy


def compile_(
    source: Source,
    folder: Output = Path("runs/bundle"),
    bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of a weight.")] = 8,
    samples: Samples = 64,
    lava: Annotated[
        Literal["fast", "stock", "none"],
        typer.Option(
            help="Convolution model on Lava: ours (equal, faster), Lava's own, or no run."
        ),
    ] = "fast",
    calibration: Annotated[
        Literal["max", "percentile", "mse", "agreement"],
        typer.Option(
            help="Scales that hold the largest weight, or 99.9 % of them, or have the least error, "
            "or keep the most spikes on training data."
        ),
    ] = "percentile",
    per_channel: Annotated[
        bool, typer.Option("--per-channel", help="A scale for each channel, where a chip allows.")
    ] = False,
    fit_membranes: Annotated[
        bool,
        typer.Option(
            "--fit-membranes", help="Lower scales until no membrane can saturate, for any input."
        ),
    ] = False,
    qat: Annotated[
        int, typer.Option(min=0, help="Epochs of quantization-aware fine-tuning before.")
    ] = 0,
    onnx: Annotated[
        Literal["step", "sequence", "qonnx"],
        typer.Option(help="Form of model.onnx; qonnx adds model.qonnx.onnx for FPGA flows."),
    ] = "step",
    nir_strict: Annotated[
        bool, typer.Option("--nir-strict", help="Plain NIR nodes only, soft reset too.")
    ] = False,
    netx: Annotated[
        bool, typer.Option("--netx", help="Add model.net for lava-dl: sequential networks only.")
    ] = False,
    host_encoder: HostEncoder = False,
    dt: Dt = None,
    reset: Reset = None,
    if_r: IfR = None,
    steps: Steps = None,
    spike_input: SpikeInput = False,
    feedback: Feedback = None,
    current: Current = None,
    recurrent_bias: RecurrentBias = None,
    fires: Fires = None,
    shape: ShapeText = None,
    data: Data = None,
    trust: Trust = False,
    policy: PolicyName = "strict",
    waivers: WaiverFile = None,
    today: Today = None,
) -> None:
    """Strip, fuse, quantize, write NIR, ONNX, Lava and golden vectors, and judge."""
    require_folder(folder, BUNDLE)
    from purespike.flow.inputs.exchange import Stated
    from purespike.flow.inputs.opening import open_source

    chosen, accepted = read_policy(policy), load_waivers(waivers, today)
    opened = open_source(
        source,
        Stated(
            dt=dt,
            reset=reset,
            if_r=if_r,
            steps=steps,
            spike_input=spike_input,
            feedback=feedback,
            current=current,
            recurrent_bias=recurrent_bias,
            fires=fires,
            shape=read_shape(shape),
            data=data,
            trust=trust,
        ),
    )
    from purespike.flow.build import Options, build  # loads torch: what is missing was said before
    from purespike.flow.inputs.load import load_subject

    options = Options(
        weight_bits=bits,
        calibration=calibration,
        per_channel=per_channel,
        fit_membranes=fit_membranes,
        qat=qat,
        golden=samples,
        lava=lava,
        lava_samples=samples,
        nir_strict=nir_strict,
        onnx=onnx,
        netx=netx,
        host_encoder=host_encoder,
        policy=chosen,
        waivers=accepted,
    )
    with progress_bars(err) as progress:
        built = build(load_subject(opened, samples=samples), options, progress)
    raise typer.Exit(write_build(built, folder))
