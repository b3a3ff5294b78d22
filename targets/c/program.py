"""The folder of a C program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from purespike.compiler.files.kinds import PROGRAM
from purespike.compiler.files.writing import staged_folder
from purespike.compiler.ir.graph import Graph
from purespike.targets.bundle.manifest import file_hash
from purespike.targets.c.emit import Form
from purespike.targets.c.footprint import Footprint, footprint, require_ram
from purespike.targets.c.golden import write_c

MANIFEST = PROGRAM.manifest


def write_program(
    graph: Graph,
    folder: Path,
    inputs: NDArray[Any],
    spikes: Mapping[str, NDArray[Any]],
    membranes: Mapping[str, NDArray[Any]],
    *,
    ram: int | None = None,
    form: Form = "c",
    version: str,
) -> Footprint:
    """Write the C program of a network, whole or not at all.

    Args:
        graph: The network, the part on the chip.
        folder: Where; a C program of ours that is there is replaced.
        inputs: Of golden samples, as `write_c` takes them.
        spikes: Likewise.
        membranes: Likewise.
        ram: Bytes of working memory that it may have.
        form: ``hls`` puts in the pragmas of Vitis HLS.
        version: Of purespike.

    Raises:
        CError: If the network has no such form, or needs more memory.
        OutputError: If the folder holds something else, or cannot be written.
    """
    needs = footprint(graph)
    if ram is not None:
        require_ram(needs, ram)
    with staged_folder(folder, PROGRAM) as stage:
        samples = write_c(graph, stage, inputs, spikes, membranes, form)
        manifest = {
            **PROGRAM.mark,
            "format": 1,
            "versions": {"purespike": version},
            "form": form,
            "golden_samples": samples,
            "footprint": needs.data(),
            "files": {
                p.name: {"bytes": p.stat().st_size, "sha256": file_hash(p)}
                for p in sorted(stage.iterdir())
            },
        }
        text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        (stage / MANIFEST).write_text(text, encoding="utf-8")
    return needs
