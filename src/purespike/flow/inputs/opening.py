"""What can be said of a NETWORK argument and its data before torch is loaded and the data read.

Everything that is missing or does not fit is refused here, in well under a second.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from purespike.axes import SWAP, unfit
from purespike.compiler.files.reading import read_text
from purespike.compiler.ir.graph import Graph
from purespike.compiler.labels import checked_labels, output_classes
from purespike.compiler.report.rows.network import NetworkFile
from purespike.compiler.wording import Advice
from purespike.errors import InputError
from purespike.flow.inputs.datafile import Header, peek
from purespike.flow.inputs.exchange import FORMATS, network_file, read_named
from purespike.flow.inputs.stated import Stated
from purespike.subject import Samples
from purespike.targets.bundle.manifest import MANIFEST
from purespike.trainer.dotted import MADE, meant, require_findable
from purespike.trainer.training.interrupted import require_finished
from purespike.trainer.training.places import MODEL

CHECKPOINT = "checkpoint.json"
LARGEST_DESCRIPTION = 1 << 20  # bytes of it
PROGRAM = ".pt2"  # of torch.export


@dataclass(frozen=True)
class Opened:
    """A NETWORK argument that was looked at.

    Attributes:
        source: As it was given.
        stated: As it was given.
        graph: Where the source is a file of an exchange format.
        name: What a report calls it.
        file: What a report says of the file that it is, if it is one.
        header: Of the data, where there are any.
        samples: Data that came in memory.
        brings_data: Whether the source has data of its own, which are not looked at here.
    """

    source: str
    stated: Stated
    graph: Graph | None = None
    name: str = ""
    file: NetworkFile | None = None
    header: Header | None = None
    samples: Samples | None = None
    brings_data: bool = False


def open_source(source: str, stated: Stated, samples: Samples | None = None) -> Opened:
    """Look at a source; `purespike.flow.inputs.load.load_subject` says what it may be.

    Raises:
        InputError: If the source is nothing of that, or something is missing or stated in vain.
        LabelError: If a label of the data can be none.
        PurespikeError: What the reader of the source refuses, with the reason.
    """
    path = Path(source)
    if (path / MODEL / CHECKPOINT).is_file() and not (path / CHECKPOINT).is_file():
        path = path / MODEL  # the folder of a training
    if (path / CHECKPOINT).is_file():
        stated.refuse("a checkpoint", "trust", "data")
        _require_trust(path, stated)
        header = _header(stated, samples)
        return Opened(str(path), stated, header=header, samples=samples, brings_data=True)
    if (path / MANIFEST).is_file():
        stated.refuse("a bundle")
        return Opened(source, stated, samples=samples, brings_data=True)
    if path.is_file() and path.suffix == PROGRAM:
        stated.refuse("an exported program", "data")
        header = _header(stated, samples)
        file = network_file(path, "torch.export", stated)
        return Opened(source, stated, file=file, header=header, samples=samples)
    if path.is_file() and path.suffix != ".py":
        if path.suffix == ".ckpt":
            require_finished(path)
        header = _header(stated, samples)
        graph, file = read_named(
            path, stated, header.steps if header else None, header.shape if header else None
        )
        _require_fit(file.title, graph, header)
        return Opened(source, stated, graph, file.title, file, header, samples)
    if ":" in source and not path.exists():
        stated.refuse("a torch module", "shape", "steps", "spike_input", "data")
        header = _header(stated, samples)
        _require_form(source, stated, header)
        require_findable(source, MADE, InputError)
        return Opened(source, stated, header=header, samples=samples)
    require_finished(path)
    raise InputError(
        "there is no network of this name",
        found=source,
        allowed="a checkpoint folder, a bundle, a file "
        + ", ".join((*FORMATS, PROGRAM))
        + ", or package.module:factory",
        remedy=meant(source),
    )


def _header(stated: Stated, samples: Samples | None) -> Header | None:
    if samples is None:
        return None if stated.data is None else peek(stated.data)
    if stated.data is not None:
        raise InputError(
            "the data are given twice",
            found=f"samples in memory, and {stated.data}",
            remedy="leave one of them out",
        )
    steps, count, *shape = samples.inputs.shape
    return Header(Path("the samples"), steps, count, tuple(shape), samples.labels)


def _require_trust(path: Path, stated: Stated) -> None:
    try:
        said = read_text(path / CHECKPOINT, LARGEST_DESCRIPTION, InputError, "the description")
        description = json.loads(said)
    except (InputError, OSError, ValueError, RecursionError):
        return  # damaged: the reader of checkpoints says how
    for what, table, key in (("network", "model", "module"), ("data", "data", "name")):
        try:
            code = description[table][key]
        except (KeyError, TypeError):
            continue
        if what == "data" and stated.data is not None:
            continue  # it is not opened
        if isinstance(code, str) and ":" in code and not stated.trust:
            raise untrusted(path, what, code)


def untrusted(path: Path, what: str, code: str) -> InputError:
    """The error for a checkpoint that needs code to run which nobody vouched for."""
    return InputError(
        f"the {what} of this checkpoint {'is' if what == 'network' else 'are'} made by code that "
        "it names",
        where=str(path),
        found=code,
        remedy=Advice("if you trust it, say so: {trust}"),
    )


def _require_fit(name: str, graph: Graph, header: Header | None) -> None:
    if header is None or len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return
    (edge,) = graph.inputs
    if header.steps != graph.steps or header.shape != edge.shape:
        form = header.steps, header.samples, *header.shape
        raise unfit(form, graph.steps, edge.shape, f"{header.path} for {name}", InputError)
    if header.labels is not None:
        checked_labels(header.labels, header.samples, str(header.path), *output_classes(graph))


def _require_form(source: str, stated: Stated, header: Header | None) -> None:
    given = {"shape": stated.shape, "steps": stated.steps}
    if header is None:
        why = {"shape": "of one sample at one step", "steps": "time steps that a sample lasts"}
        missing = {n: why[n] for n, value in given.items() if value is None}
        if missing:
            raise InputError(
                "a torch module does not say what it takes, and leaves open: " + ", ".join(missing),
                where=source,
                open=missing,
                remedy=Advice("state them, or give {data} with its inputs"),
            )
        return
    for name, found in (("shape", header.shape), ("steps", header.steps)):
        if given[name] is not None and found != given[name]:
            raise InputError(
                f"the data has another {'number of steps' if name == 'steps' else name}",
                where=f"{header.path} for {source}",
                found=str(found),
                allowed=str(given[name]),
                remedy=SWAP
                if name == "steps" and given[name] == header.samples
                else Advice(f"leave out {{{name}}}: the data says it"),
            )
