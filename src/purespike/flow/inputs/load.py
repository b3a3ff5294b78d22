"""Whatever holds a network, as a subject to compile: `load_subject` knows all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from purespike.axes import SWAP, warn_of_axes
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.report.report import ReportError
from purespike.compiler.report.rows.network import NetworkFile
from purespike.compiler.wording import Advice
from purespike.errors import InputError
from purespike.flow.inputs.datafile import is_binary, read_data
from purespike.flow.inputs.fine_tuning import calibration_of, training_of
from purespike.flow.inputs.opening import CHECKPOINT, Opened, open_source
from purespike.flow.inputs.stated import Stated
from purespike.judge.accuracy import own_decisions
from purespike.judge.static import is_integer
from purespike.subject import Batches, Samples, Subject, require_fit, require_single
from purespike.targets.bundle.bundle import MANIFEST, Bundle, read_bundle

if TYPE_CHECKING:  # torch takes seconds to load: only those load it who have a module
    from torch import nn

SAMPLES = 64  # made up where no data is given


def load_subject(
    source: str | Opened, stated: Stated | None = None, *, samples: int = SAMPLES
) -> Subject:
    """What the source names, with the data to judge it by.

    Args:
        source: A checkpoint folder, a bundle, a file (.nir, .onnx, .net, .pt2), or a torch module
            by its dotted path, ``package.module:name``: a module, or a callable that gives one.
            Or what `purespike.flow.inputs.opening.open_source` made of it.
        stated: What the source leaves open.
        samples: How many to make up where there is no data.

    Returns:
        The subject. Without data, its inputs are random spikes, each sample at a rate of its own,
        its labels are what the network itself decides, and ``labelled`` is False.

    Raises:
        InputError: If the source is nothing of that, or something is missing or stated in vain.
        LabelError: If a label of the data can be none.
        PurespikeError: What the reader of the source refuses, with the reason.
    """
    opened = source if isinstance(source, Opened) else open_source(source, stated or Stated())
    subject = _loaded(opened, samples)
    data = None if opened.samples is not None else opened.stated.data
    return subject if data is None else replace(subject, data=str(data))


def _loaded(opened: Opened, samples: int) -> Subject:
    stated, path = opened.stated, Path(opened.source)
    if (path / CHECKPOINT).is_file():
        from purespike.flow.inputs.checkpoints import checkpoint_subject, digits_subject

        if opened.samples is None:
            return digits_subject(path, trusted=stated.trust, data=stated.data)
        return checkpoint_subject(path, opened.samples, trusted=stated.trust)
    if (path / MANIFEST).is_file():
        bundle = read_bundle(path)
        x, labels = bundle.golden.inputs, bundle.golden.labels
        shape = tuple(x.shape[2:])
        subject = Subject(
            path.name, bundle.graph, shape, x, labels, file=_origin(bundle), compiled=True
        )
        return with_samples(subject, opened.samples)
    given = opened.samples or read_data(stated.data)
    if opened.graph is not None:
        subject = from_graph(opened.name, opened.graph, given, samples)
        return replace(subject, file=opened.file, compiled=_is_compiled(opened))
    if path.is_file():
        from purespike.trainer.capture.exported import read_exported

        program = read_exported(path)
        stated = replace(stated, shape=program.shape, steps=program.steps)
        subject = from_module(path.name, program.module, stated, given, samples)
        return replace(subject, file=opened.file)
    return from_module(opened.source, _module(opened.source), stated, given, samples)


def _origin(bundle: Bundle) -> NetworkFile | None:
    """The file that the bundle's network came from, as its report says."""
    try:
        return bundle.said.file
    except ReportError:
        return None


def _is_compiled(opened: Opened) -> bool:
    """Whether purespike has compiled what the file holds: only such files leave nothing open."""
    graph, file = opened.graph, opened.file
    ours = file is not None and file.format in ("NIR", "ONNX") and not (file.stated or file.assumed)
    return ours and graph is not None and is_integer(graph)


def with_samples(subject: Subject, samples: Samples | None) -> Subject:
    """The subject with other data to judge it by, if any are given."""
    if samples is None:
        return subject
    given, training = _arrays(samples)
    calibration = calibration_of(given)
    return replace(
        subject,
        spikes=given["inputs"],
        labels=given.get("labels"),
        labelled=samples.labels is not None,
        calibration=subject.calibration if calibration is None else calibration,
        training=training or subject.training,
    )


def _module(source: str) -> nn.Module:
    """A torch module by its dotted path. This runs the user's own code, as Python's import does."""
    from purespike.trainer.networks.own import users_module

    return users_module(source, source, InputError).eval()


_NAMES = {"shape": "shape", "steps": "number of steps"}
Given = Samples | Mapping[str, NDArray[Any]]  # in memory, or of a file


def from_module(
    source: str, module: nn.Module, stated: Stated, data: Given, samples: int = SAMPLES
) -> Subject:
    """A torch module, or a model of SpikingJelly or snnTorch, as a subject.

    Args:
        source: What the report calls it.
        module: Takes (T, B, *shape).
        stated: The shape and steps, where there is no data.
        data: Empty if there is none.
        samples: How many to make up then.

    Raises:
        InputError: If it is not said what the module takes, or it does not run on that.
        CaptureError: If it has no graph.
    """
    from purespike.trainer.capture.interop.brevitas import is_brevitas, quantized_graph
    from purespike.trainer.capture.loops import refusing_single_steps
    from purespike.trainer.capture.readout import on_sequences
    from purespike.trainer.capture.trace import capture
    from purespike.trainer.networks.failed import counterpart, first_line, place_of

    given, training = _arrays(data)
    shape = tuple(given["inputs"].shape[2:]) if given else stated.shape
    steps = len(given["inputs"]) if given else stated.steps
    if shape is None or steps is None:
        raise InputError(
            "a torch module does not say what it takes",
            where=source,
            remedy=Advice("give samples, or state {shape} and {steps}"),
        )
    for name, found, said in (("shape", shape, stated.shape), ("steps", steps, stated.steps)):
        if said is not None and found != said:
            swapped = name == "steps" and bool(given) and given["inputs"].shape[1] == said
            raise InputError(
                f"the data has another {_NAMES[name]}",
                where=source,
                found=str(found),
                allowed=str(said),
                remedy=SWAP
                if swapped
                else f"give data of this {_NAMES[name]}, or state what the data has",
            )
    if given:
        labelled, known = "labels" in given, stated.steps is not None
        warn_of_axes(given["inputs"].shape, source, labelled=labelled, known=known)
    x = given["inputs"] if given else _spikes(steps, samples, shape)
    domain = SPIKE if is_binary(x) else ANALOG
    if is_brevitas(module):
        if steps != 1:
            raise InputError(
                "a network of Brevitas has no memory: each sample is one step",
                where=source,
                found=f"{steps} steps",
                allowed="1",
                remedy=Advice("state {steps} as 1; data are (1, B, ...)"),
            )
        return from_graph(source, quantized_graph(module, shape, domain=domain), data, samples)
    labels = given.get("labels")
    calibration = calibration_of(given)
    module = on_sequences(module, shape, steps, domain)
    try:
        with refusing_single_steps(module, steps):
            own_decisions(module, x[:, :1])
        decided = own_decisions(module, x) if labels is None else labels
    except PurespikeError:
        raise
    except Exception as e:  # whatever the user's code does
        remedy: str = counterpart(e, module)
        if not remedy:
            capture(module, shape, steps, domain=domain)  # says better what the module cannot do
            remedy = "give data of the shape that the module takes, or change its first layer"
            if not given:
                remedy = Advice("state {shape} and {steps} as the module takes them")
        raise InputError(
            "the module does not run on such an input",
            where=place_of(e) or source,
            found=first_line(e),
            allowed=f"inputs (T, B, ...) = {x.shape}",
            remedy=remedy,
        ) from e
    labelled = labels is not None
    return Subject(source, module, shape, x, decided, domain, calibration, labelled, training)


def _arrays(data: Given) -> tuple[Mapping[str, NDArray[Any]], Callable[[], Batches] | None]:
    given = data.arrays() if isinstance(data, Samples) else data
    batches = data.batches if isinstance(data, Samples) else None
    return given, batches or training_of(given)


def from_graph(name: str, graph: Graph, data: Given, samples: int = SAMPLES) -> Subject:
    """A graph as a subject; arguments as for `from_module`.

    Raises:
        UsageError: If the data do not fit the network.
    """
    require_single(graph, name)
    (edge,) = graph.inputs
    given, training = _arrays(data)
    x = given["inputs"] if given else _spikes(graph.steps, samples, edge.shape)
    require_fit(graph, x, name)
    if given:
        warn_of_axes(x.shape, name, labelled="labels" in given, known=True)
    labels = given.get("labels")
    labelled = labels is not None
    if labels is None:
        labels = own_decisions(graph, x)
    return Subject(
        name,
        graph,
        edge.shape,
        x,
        labels,
        edge.domain,
        calibration_of(given),
        labelled,
        training,
    )


def _spikes(steps: int, samples: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    r = np.random.default_rng(0)
    rates = r.random((1, samples, *(1 for _ in shape)))
    return (r.random((steps, samples, *shape)) < rates).astype(np.uint8)
