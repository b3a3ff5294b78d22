"""The options that say what an input leaves open."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from purespike.errors import InputError

Source = Annotated[
    str,
    typer.Argument(
        help="A checkpoint folder, a bundle, a .nir, .onnx, .net or .pt2 file, or a torch module "
        "as package.module:factory."
    ),
]
Dt = Annotated[
    float | None, typer.Option(help="NIR, ONNX or netx of another tool: seconds a time step.")
]
Reset = Annotated[
    Literal["zero", "subtract"] | None,
    typer.Option(help="NIR of another tool: what a spike does to the membrane."),
]
IfR = Annotated[
    Literal["step", "dt"] | None,
    typer.Option("--if-r", help="NIR of another tool: IF and I add r * x, or dt * r * x."),
]
Steps = Annotated[
    int | None, typer.Option(min=1, help="Time steps a sample, where the input does not say.")
]
SpikeInput = Annotated[
    bool,
    typer.Option("--spike-input", help="NIR or ONNX of another tool: its inputs carry spikes."),
]
Feedback = Annotated[
    Literal["previous"] | None,
    typer.Option(help="NIR of another tool: an edge that closes a loop carries the step before."),
]
Current = Annotated[
    Literal["new", "previous"] | None,
    typer.Option(
        help="NIR of another tool: CubaLI and CubaLIF take the synaptic current after its update, "
        "or before."
    ),
]
RecurrentBias = Annotated[
    Literal["always", "delayed"] | None,
    typer.Option(
        "--recurrent-bias",
        help="NIR of another tool: the bias in a loop is there from the first step on (snnTorch), "
        "or a step later (Norse).",
    ),
]
Fires = Annotated[
    Literal["above", "at"] | None,
    typer.Option(
        help="NIR of another tool: neurons fire above the threshold (NIR's text, snnTorch, Norse), "
        "or at it, too (SpikingJelly, sinabs, Rockpool)."
    ),
]
ShapeText = Annotated[
    str | None, typer.Option("--shape", help="A torch module: of a sample at a step, as C,H,W.")
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="A .npz file with inputs (T, B, ...) and labels (B,); without, the inputs are made up "
        "and no accuracy is measured."
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run the code that a checkpoint names as its data set."),
]


def read_shape(text: str | None) -> tuple[int, ...] | None:
    """The shape in ``1,8,8``; None stays None.

    Raises:
        InputError: If it is no list of sizes.
    """
    if text is None:
        return None
    parts = text.replace("x", ",").split(",")
    if not all(p.strip().isdigit() and int(p) > 0 for p in parts):
        raise InputError("no shape", found=text, allowed="sizes such as 1,8,8 or 64")
    return tuple(int(p) for p in parts)
