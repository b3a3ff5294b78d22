"""Whatever holds a network, as a subject to compile: `load_subject` knows all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.wording import Advice
from purespike.errors import InputError
from purespike.flow.inputs.datafile import is_binary, read_data
from purespike.flow.inputs.fine_tuning import calibration_of, training_of
from purespike.flow.inputs.opening import CHECKPOINT, Opened, open_source
from purespike.flow.inputs.stated import Stated
from purespike.judge.accuracy import own_decisions
from purespike.subject import Batches, Samples, Subject, require_fit, require_single
from purespike.targets.bundle.bundle import MANIFEST, read_bundle

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
    stated, path = opened.stated, Path(opened.source)
    if (path / CHECKPOINT).is_file():
        from purespike.flow.inputs.checkpoints import checkpoint_subject, digits_subject

        if opened.samples is None:
            return digits_subject(path, trusted=stated.trust, data=stated.data)
        return checkpoint_subject(path, opened.samples, trusted=stated.trust)
    if (path / MANIFEST).is_file():
        bundle = read_bundle(path)
        x, labels = bundle.golden.inputs, bundle.golden.labels
        subject = Subject(path.name, bundle.graph, tuple(x.shape[2:]), x, labels)
        return with_samples(subject, opened.samples)
    given = opened.samples or read_data(stated.data)
    if opened.graph is not None:
        return from_graph(opened.name, opened.graph, given, samples)
    if path.is_file():
        from purespike.trainer.capture.exported import read_exported

        program = read_exported(path)
        stated = replace(stated, shape=program.shape, steps=program.steps)
        return from_module(path.name, program.module, stated, given, samples)
    return from_module(opened.source, _module(opened.source), stated, given, samples)


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
    from purespike.flow.inputs.modules import on_sequences
    from purespike.trainer.capture.interop.brevitas import is_brevitas, quantized_graph
    from purespike.trainer.capture.trace import capture

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
            raise InputError(
                f"the data has another {name}", where=source, found=str(found), allowed=str(said)
            )
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
    if labels is not None:
        return Subject(source, module, shape, x, labels, domain, calibration, True, training)
    try:
        labels = own_decisions(module, x)
    except Exception as e:  # whatever the user's code does
        capture(module, shape, steps, domain=domain)  # says better what the module cannot do
        raise InputError(
            "the module does not run on such an input",
            where=source,
            found=f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}",
            allowed=f"inputs (T, B, C, H, W) = {x.shape}",
            remedy=Advice("state {shape} and {steps} as the module takes them, or give {data}"),
        ) from e
    return Subject(source, module, shape, x, labels, domain, calibration, False, training)


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
