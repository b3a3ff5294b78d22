"""The public calls. No logic: each joins rooms that say more, and loads them when it is called.

Examples run in one namespace, in this order; the first makes what the others use.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from purespike.compiler.choices import as_path
from purespike.compiler.ir.graph import Graph
from purespike.keywords import (
    Compiling,
    Judging,
    Statements,
    as_changes,
    listing,
    read_keywords,
)
from purespike.options import Options as Options
from purespike.subject import Progress, Samples, Subject, silent

if TYPE_CHECKING:
    from torch import nn as torch_nn

    from purespike.compiler.pipeline import Pipeline
    from purespike.flow.build import Build
    from purespike.flow.bundles import OpenBundle
    from purespike.flow.check import Check
    from purespike.trainer.training.fit import TrainResult

    Network: TypeAlias = torch_nn.Module | Graph | Subject | TrainResult | str | os.PathLike[str]

__all__ = ["Options", "Samples", "check", "compile", "load", "open_bundle", "train"]


@listing(Compiling)
def compile(
    network: Network,
    samples: Samples | None = None,
    *,
    name: str = "",
    options: Options | None = None,
    progress: Progress = silent,
    passes: Callable[[Pipeline], Pipeline] | None = None,
    dump_graphs: str | Path | None = None,
    **keywords: Unpack[Compiling],
) -> Build:
    """Capture, compile, run on every executor, and judge.

    >>> import numpy as np, torch
    >>> import purespike as ps
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Sequential(
    ...     ps.nn.Conv2d(2, 4, 3, padding=1), ps.nn.IF(),
    ...     ps.nn.GlobalAvgPool2d(), ps.nn.Flatten(), ps.nn.TimeMean(), torch.nn.Linear(4, 3))
    >>> x = np.random.default_rng(0).random((4, 8, 2, 6, 6)) < 0.4  # (T, B, C, H, W)
    >>> build = ps.compile(model, ps.Samples(x), golden=4, lava="none")
    >>> build.headline  # without Lava and labels: nothing is broken, and not all is proved
    'NOT PROVED: not run PS010, PS012'
    >>> build.compliant, [f for f in build.findings if f.status == "FAIL"]
    (False, [])
    >>> build.graph
    Graph(%input_1: 2x6x6 spike -> 5, nodes=5, T=4)
    >>> build.save("bundle")
    >>> build.report.save("report.html")

    Args:
        network: A torch module (a model of SpikingJelly or snnTorch as it is), a graph, what
            `train` or `load` gave, or a path: a checkpoint, a bundle, a file (.nir, .onnx, .net,
            .pt2), or ``package.module:factory``.
        samples: What it is judged by. Without any, those that the network brings with it, or
            random spikes, for which no accuracy is measured.
        name: What the report calls it.
        options: Several of the keywords below at once.
        progress: Called with (stage, done, total).
        passes: Changes the pipeline, as ``lambda p: p.after("fold_scales", my_pass)``.
        dump_graphs: A folder for the printed graph after each pass.
        **keywords: The attributes of `purespike.Options` by name (``weight_bits=8``, ``lava``,
            ``policy="leaky"``, ...), and what a file leaves open (``dt``, ``reset``, ``steps``,
            ...: `purespike.flow.inputs.stated.Stated`). What is missing is named by an error.

    Returns:
        A build with ``.compliant .headline .findings .report .graph .save() .simulate()``. A
        network that is not spike-only comes back with the findings that say why.

    Raises:
        UsageError: For a mistake of the caller.
        CaptureError: If the network has no graph.
    """
    from purespike.flow.build import build
    from purespike.flow.inputs.given import as_subject

    chosen, stated = read_keywords(keywords, Compiling, options)
    made_up = max(chosen.golden, chosen.lava_samples)
    subject = as_subject(network, samples, stated, name=name, made_up=made_up)
    return build(subject, chosen, progress, passes=passes or (lambda p: p), dump_graphs=dump_graphs)


@listing(Judging)
def check(
    network: Network,
    samples: Samples | None = None,
    *,
    static: bool = False,
    lava: bool = True,
    progress: Progress = silent,
    **keywords: Unpack[Judging],
) -> Check:
    """Judge a network: a file or a bundle as it is, anything else by building it.

    >>> ps.check("bundle/model.nir", static=True).headline
    'every static rule holds'
    >>> ps.check("bundle", lava=False).headline
    'NOT PROVED: not run PS010, PS012'

    Args:
        network: As for `compile`.
        samples: As for `compile`, of what has to be built.
        static: Only the rules that the network alone decides; needs no torch for a file.
        lava: Whether Lava runs; without it PS010 is not proved.
        progress: Called with (stage, done, total).
        **keywords: ``policy``, ``waivers``, ``host_encoder``, and what a file leaves open. A
            bundle is judged by the policy that it records, unless another is given.

    Returns:
        ``.compliant .headline .findings .policy .notes``.

    Raises:
        UsageError: For a mistake of the caller.
        PurespikeError: What the reader of the network refuses, with the reason.
    """
    from purespike.flow.check import check as judge

    options, stated = read_keywords(keywords, Judging, Options(lava="fast" if lava else "none"))
    return judge(
        network,
        samples,
        stated,
        options,
        static=static,
        recorded="policy" not in keywords,
        progress=progress,
    )


@listing(Statements)
def load(
    network: Network,
    samples: Samples | None = None,
    *,
    name: str = "",
    **keywords: Unpack[Statements],
) -> Subject:
    """Whatever holds a network, read and ready to be compiled, with its samples.

    >>> loaded = ps.load("bundle")
    >>> loaded
    Subject('bundle', Graph, shape=(2, 6, 6), T=4, samples=4)
    >>> loaded.model
    Graph(%input_1: 2x6x6 spike -> 5, nodes=5, T=4)

    Args:
        network: As for `compile`.
        samples: In place of those that it brings with it.
        name: What a report calls it.
        **keywords: What a file leaves open.

    Raises:
        UsageError: For a mistake of the caller.
        PurespikeError: What the reader of the network refuses, with the reason.
    """
    from purespike.flow.inputs.given import as_subject

    return as_subject(network, samples, read_keywords(keywords, Statements)[1], name=name)


def open_bundle(folder: str | os.PathLike[str]) -> OpenBundle:
    """Read a bundle, every hash checked. Needs no torch.

    >>> bundle = ps.open_bundle("bundle")
    >>> bundle.verify(lava=False).headline
    'EQUAL: 13 files, bit for bit'
    >>> bundle.simulate(x)
    Simulation('cpu', samples=8, layers=1)
    >>> bundle.golden.spikes["1"].shape  # (T, B, C, H, W)
    (4, 4, 4, 6, 6)

    Args:
        folder: That `compile` or the command line wrote.

    Returns:
        ``.compliant .headline .findings .report .graph .golden .verify() .simulate()``.

    Raises:
        BundleError: If it is incomplete, damaged or tampered with.
    """
    from purespike.flow.bundles import open_bundle as read

    return read(folder)


def train(
    network: Any = None,
    data: Any = None,
    *,
    out: str | os.PathLike[str] = "runs/train",
    aap: Sequence[str] = (),
    shortcut: Sequence[str] = (),
    steps: int | None = None,
    changes: Mapping[str, Any] | Sequence[str] = (),
    resume: bool = False,
    progress: bool = True,
    tensorboard: bool = False,
    **settings: Any,
) -> TrainResult:
    """Train a network; its auxiliary paths are part of the training only.

    >>> data = ps.Samples(x, [0, 1, 2, 0, 1, 2, 0, 1])
    >>> trained = ps.train(model, data, out="run", epochs=1, batch_size=4, progress=False)
    >>> trained.checkpoint.name
    'model'
    >>> ps.compile(trained.model, ps.Samples(x), golden=4, lava="none").compliant
    False

    Args:
        network: A recipe, by its file or name, such as ``digits``; a module of your own, as
            ``package.module:factory``, as a callable that gives one, or itself.
        data: In place of the recipe's: a .npz file, the name of a data set, or
            ``package.module:factory``; samples; arrays, or data sets of torch.
        out: The folder to write.
        aap: Modules of your network, by their names, whose spikes an accumulation pathway adds up.
        shortcut: Modules of it that get a shortcut branch.
        steps: T for a module of your own, where the data do not say it.
        changes: Values of the recipe by table and name, such as ``{"model.gate": "iand"}``.
        resume: Goes on with an interrupted training in ``out``.
        progress: Shows a bar.
        tensorboard: Writes TensorBoard logs too.
        **settings: Values of its table ``[train]``, such as ``epochs=5``.

    Returns:
        ``.model .checkpoint .accuracy .interval``; `compile` and `load` take what was trained from
        a recipe or a dotted path as it is, with the test samples of its data.

    Raises:
        UsageError: For a mistake of the caller.
        TrainingDiverged: If the loss is not finite any more.
    """
    from purespike.flow.training import train_network

    folder = as_path(out, "out")
    return train_network(
        network,
        data,
        folder,
        as_changes(changes, settings),
        aap=aap,
        shortcut=shortcut,
        steps=steps,
        resume_from=folder if resume else None,
        progress=progress,
        tensorboard=tensorboard,
    )
