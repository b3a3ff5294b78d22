"""purespike compile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from purespike.cli.commands.options import CompileOptions, JudgeOptions, NetworkOptions, Source
from purespike.cli.commands.shared import Output, write_build
from purespike.cli.shown import Shown
from purespike.compiler.files.kinds import BUNDLE, GRAPHS
from purespike.compiler.files.outputs import require_folder
from purespike.compiler.storage import OutputError


def compile_(
    source: Source,
    compiler: CompileOptions,
    network: NetworkOptions,
    judging: JudgeOptions,
    folder: Output = Path("runs/bundle"),
    dump_graphs: Annotated[
        Path | None,
        typer.Option(
            "--dump-graphs",
            help="Folder for the printed graph after each pass, and what that pass changed.",
        ),
    ] = None,
    *,
    shown: Shown,
) -> None:
    """Strip, fuse, quantize, write NIR, ONNX, Lava and golden vectors, and judge."""
    require_folder(folder, BUNDLE)
    if dump_graphs is not None:
        _require_dump(dump_graphs, folder)
    from purespike.flow.inputs.opening import open_source

    policy, waivers = judging.read()
    opened = open_source(source, network.stated())
    options = compiler.options(policy, waivers)
    from purespike.flow.pass_lists import require_samples

    if opened.graph is None and not opened.brings_data:
        header = opened.header
        trained = header is not None and header.training > 0
        held = trained or (header is not None and header.calibration > 0)
        require_samples(options, opened.name or source, calibration=held, training=trained)
    from purespike.flow.build import build  # may load torch: what is missing was said before
    from purespike.flow.inputs.load import load_subject

    with shown.progress() as progress:
        progress("reading", 0, 1)
        subject = load_subject(opened, samples=compiler.samples)
        built = build(subject, options, progress, dump_graphs=dump_graphs)
    raise typer.Exit(write_build(built, folder, shown))


def _require_dump(dump: Path, folder: Path) -> None:
    """Raise unless the graphs can be written, beside the bundle."""
    if folder.resolve() in (dump.resolve(), *dump.resolve().parents):
        raise OutputError(
            "the graphs would be written into the bundle",
            where=str(dump),
            allowed="a folder beside the bundle",
            remedy="name another folder: --dump-graphs FOLDER",
        )
    try:
        require_folder(dump, GRAPHS)
    except OutputError as e:
        e.remedy = e.remedy.replace("--out", "--dump-graphs")
        raise
