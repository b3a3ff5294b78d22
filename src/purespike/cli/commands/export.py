"""purespike export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import typer

from purespike.cli.commands.options import NetworkOptions, Source
from purespike.cli.commands.shared import out, require_bundle
from purespike.cli.listing import Listing
from purespike.cli.shown import AsJson, Quiet, print_json
from purespike.compiler.errors import UsageError
from purespike.compiler.files.kinds import PROGRAM
from purespike.compiler.files.outputs import require_file, require_folder

if TYPE_CHECKING:
    from purespike.targets.c.footprint import Footprint


To = Literal["c", "hls", "nir", "nir-data"]
_TAKES = {"ram": ("c", "hls"), "samples": ("c", "hls"), "reader": ("nir",), "integers": ("nir",)}
_TAKES |= {"keep_batchnorm": ("nir",), "strict": ("nir",), "as_json": ("c", "hls")}
_OPTIONS = {"reader": "--for", "strict": "--nir-strict", "as_json": "--json"}


@dataclass(frozen=True)
class ExportOptions:
    """What some targets take; the others refuse it."""

    ram: Annotated[
        int | None,
        typer.Option("--ram", min=1, help="C: bytes of working memory that it may have."),
    ] = None
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="C: golden samples, at most; 4.")
    ] = None
    as_json: AsJson = False
    reader: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="NIR: a tool that shall read it, with its conventions: spikingjelly, snntorch, "
            "norse or sinabs.",
        ),
    ] = None
    integers: Annotated[
        bool, typer.Option("--integers", help="NIR: in the chip's integers; else as trained.")
    ] = False
    keep_batchnorm: Annotated[
        bool, typer.Option("--keep-batchnorm", help="NIR: batch norms as layers of their own.")
    ] = False
    strict: Annotated[
        bool, typer.Option("--nir-strict", help="NIR: plain nodes only, soft reset too.")
    ] = False

    def require(self, to: To) -> None:
        """Raise UsageError for an option that this target does not take."""
        for name, takers in _TAKES.items():
            if getattr(self, name) and to not in takers:
                option = _OPTIONS.get(name, f"--{name.replace('_', '-')}")
                raise UsageError(
                    "this target has no such option",
                    found=f"{option} with --to {to}",
                    allowed=f"{option} with --to {' or '.join(takers)}",
                )
        if self.reader and self.strict:
            raise UsageError(
                "plain nodes are NIR's own conventions, and a reader has others",
                found="--nir-strict beside --for",
                remedy="leave out one of them",
            )


def export(
    source: Source,
    network: NetworkOptions,
    more: ExportOptions,
    to: Annotated[
        To,
        typer.Option(
            "--to",
            help="Of a bundle: a C99 program, the same with the pragmas of Vitis HLS, or its "
            "golden samples as NIRGraphData. Of any NETWORK: a NIR file.",
        ),
    ] = "c",
    folder: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of the program, or file; replaced if ours."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write a network as a C program or as NIR, or its golden samples as NIR's data."""
    more.require(to)
    if to == "nir":
        _nir(source, network, more, folder or Path("runs/model.nir"), quiet)
    elif to == "nir-data":
        network.stated().refuse("a bundle")
        _nir_data(Path(source), folder or Path("runs/golden.h5"), quiet)
    else:
        network.stated().refuse("a bundle")
        _program(Path(source), to, more, folder or Path("runs/c"), quiet)


def _program(
    source: Path, to: Literal["c", "hls"], more: ExportOptions, folder: Path, quiet: bool
) -> None:
    require_folder(folder, PROGRAM)
    require_bundle(source)
    from purespike import __version__
    from purespike.targets.bundle.bundle import read_bundle
    from purespike.targets.c.program import write_program

    loaded = read_bundle(source)
    some = loaded.golden.part(np.arange(min(more.samples or 4, len(loaded.golden.labels))))
    needs = write_program(
        loaded.graph,
        folder,
        some.inputs,
        some.spikes,
        some.membranes,
        ram=more.ram,
        form=to,
        version=__version__,
    )
    if more.as_json:
        print_json(needs.data())
        return
    if not quiet:
        out.print(render(needs))
    out.print(f"Program: {folder}", markup=False, highlight=False)
    if not quiet:
        out.print(f"`make -C {folder} check` replays its golden samples.", markup=False)


def _nir(
    source: str, network: NetworkOptions, more: ExportOptions, file: Path, quiet: bool
) -> None:
    require_file(file)
    from purespike.flow.inputs.opening import open_source

    opened = open_source(source, network.stated())
    from purespike.flow.exporting import export_nir, exported  # may load torch
    from purespike.flow.inputs.load import load_subject
    from purespike.options import Options

    subject = load_subject(opened, samples=16)
    graph = exported(subject, Options(), integers=more.integers, keep_batchnorm=more.keep_batchnorm)
    how = export_nir(graph, file, reader=more.reader, strict=more.strict)
    out.print(f"NIR: {file}", markup=False, highlight=False)
    if not quiet:
        out.print(f"Read it with {how}", markup=False, highlight=False, soft_wrap=True)


def _nir_data(source: Path, file: Path, quiet: bool) -> None:
    require_file(file)
    require_bundle(source)
    from purespike.compiler.files.writing import write_file
    from purespike.targets.bundle.bundle import read_bundle
    from purespike.targets.nir.data import data_bytes, to_nir_data

    loaded = read_bundle(source)
    golden = loaded.golden
    made = to_nir_data(loaded.graph, golden.inputs, golden.spikes, golden.membranes)
    write_file(file, data_bytes(made))
    out.print(f"NIR data: {file}", markup=False, highlight=False)
    if not quiet:
        out.print(f"Read it with nir.read_data({file.name!r})", markup=False, highlight=False)


def render(needs: Footprint) -> Listing:
    """The footprint by layer."""
    table = Listing("layer", "neurons", "weights", "other", "membranes", "spikes", "additions")
    table.title = (
        f"C program: {needs.rom:,} bytes of constants, {needs.ram:,} bytes of working memory "
        "(code comes on top)"
    )
    for r in needs.rows:
        numbers = (r.neurons, r.weights, r.constants, r.state, r.spikes, r.additions)
        table.add_row(r.name, *(f"{n:,}" for n in numbers))
    return table
