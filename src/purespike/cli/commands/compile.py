"""purespike compile."""

from __future__ import annotations

from pathlib import Path

import typer

from purespike.cli.commands.options import CompileOptions, JudgeOptions, NetworkOptions, Source
from purespike.cli.commands.shared import Output, err, write_build
from purespike.cli.console import progress_bars
from purespike.compiler.files.kinds import BUNDLE
from purespike.compiler.files.outputs import require_folder


def compile_(
    source: Source,
    compiler: CompileOptions,
    network: NetworkOptions,
    judging: JudgeOptions,
    folder: Output = Path("runs/bundle"),
) -> None:
    """Strip, fuse, quantize, write NIR, ONNX, Lava and golden vectors, and judge."""
    require_folder(folder, BUNDLE)
    from purespike.flow.inputs.opening import open_source

    policy, waivers = judging.read()
    opened = open_source(source, network.stated())
    from purespike.flow.build import build  # loads torch: what is missing was said before
    from purespike.flow.inputs.load import load_subject

    options = compiler.options(policy, waivers)
    with progress_bars(err) as progress:
        built = build(load_subject(opened, samples=compiler.samples), options, progress)
    raise typer.Exit(write_build(built, folder))
