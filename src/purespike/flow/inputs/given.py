"""A network as Python code hands it in: a module, a graph, a path, or what another call gave."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from purespike.compiler.errors import UsageError
from purespike.compiler.ir.graph import Graph
from purespike.flow.inputs.load import (
    SAMPLES,
    from_graph,
    from_module,
    load_subject,
    with_samples,
)
from purespike.flow.inputs.opening import Opened, open_source
from purespike.flow.inputs.stated import Stated
from purespike.subject import Samples, Subject


def as_subject(
    network: Any,
    samples: Samples | None = None,
    stated: Stated | None = None,
    *,
    name: str = "",
    made_up: int = SAMPLES,
) -> Subject:
    """Whatever holds a network, with the data to judge it by.

    Args:
        network: A torch module, a model of SpikingJelly or snnTorch, a graph, a subject, what a
            training gave, or all that `load_subject` knows by its path.
        samples: Without any, those that the network brings with it, else random spikes.
        stated: What the network leaves open.
        name: What the report calls it.
        made_up: How many random samples there are then.

    Raises:
        UsageError: If it is nothing of that, or something is missing or stated in vain.
        PurespikeError: What the reader of the network refuses, with the reason.
    """
    stated = stated or Stated()
    if samples is not None and not isinstance(samples, Samples):
        raise UsageError(
            "the second argument holds the samples",
            found=type(samples).__name__,
            allowed="purespike.Samples(inputs, labels)",
        )
    checkpoint = getattr(network, "checkpoint", None)
    if isinstance(checkpoint, Path):  # of a training, whose code ran in this process
        network, stated = checkpoint, replace(stated, trust=True)
    none: Mapping[str, Any] = {}
    if isinstance(network, Subject):
        stated.refuse("a subject")
        subject = with_samples(network, samples)
    elif isinstance(network, Graph):
        stated.refuse("a graph")
        subject = from_graph(name or "graph", network, samples or none, made_up)
    elif isinstance(network, str | os.PathLike | Opened):
        opened = network
        if not isinstance(opened, Opened):
            opened = open_source(os.fspath(opened), stated, samples)
        subject = load_subject(opened, samples=made_up)
    else:
        subject = _from_module(network, samples, stated, name=name, made_up=made_up)
    return replace(subject, name=name) if name else subject


def _from_module(
    network: Any, samples: Samples | None, stated: Stated, *, name: str, made_up: int
) -> Subject:
    from torch import nn  # loads for seconds: a network from a file does without

    if not isinstance(network, nn.Module):
        raise UsageError(
            "this is not a network",
            found=type(network).__name__,
            allowed="a torch module, a graph, a subject, a path, or package.module:factory",
        )
    stated.refuse("a torch module", "shape", "steps", "spike_input")
    none: Mapping[str, Any] = {}
    title = name or type(_given(network)).__name__
    return from_module(title, network, stated, samples or none, made_up)


def _given(network: Any) -> Any:
    """The module that a user gave: a trained one may stand among auxiliary paths."""
    from purespike.trainer.capture.interop.imported import Imported
    from purespike.trainer.networks.attached import Attached

    if not isinstance(network, Attached):
        return network
    return network.network.model if isinstance(network.network, Imported) else network.network
