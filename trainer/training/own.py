"""Training a network of the user's own, on any data, with auxiliary paths attached by name."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.pipeline import standard_pipeline
from purespike.compiler.rules.finding import Finding
from purespike.compiler.rules.graph_rules import check_domains, check_operations
from purespike.trainer.capture.readout import capture_deployed
from purespike.trainer.data import DataConfig, DataSet, load_data
from purespike.trainer.data.config import SEQUENCE, DataFile
from purespike.trainer.data.sequences import FOLD, described, open_sequences, with_classes
from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.configuration import to_dict
from purespike.trainer.networks.own import (
    Given,
    ModuleConfig,
    OwnNetwork,
    main_of,
    own_network,
    path_of,
)
from purespike.trainer.nn.layers import BatchNorm2d
from purespike.trainer.training.batches import feed
from purespike.trainer.training.checkpoint import save_checkpoint
from purespike.trainer.training.distributed import World
from purespike.trainer.training.fit import Task, TrainResult, run_training
from purespike.trainer.training.integers import require_integers
from purespike.trainer.training.places import MODEL
from purespike.trainer.training.processor import for_this_processor
from purespike.trainer.training.settings import TrainConfig, stated

__all__ = ["NotCompilableWarning", "train_module"]


_LOOK = 4  # samples that are looked at
_PLACES = 5  # named with the same remedy


class NotCompilableWarning(UserWarning):
    """A network trains, but the compiler would refuse it."""


def train_module(
    module: Given,
    data: Any,
    folder: Path,
    config: TrainConfig | None = None,
    *,
    aap: Iterable[str] = (),
    shortcut: Iterable[str] = (),
    steps: int | None = None,
    file: DataFile | None = None,
    resume_from: Path | None = None,
    finish: bool = False,
    tables: Mapping[str, Any] | None = None,
    progress: bool = True,
    tensorboard: bool = False,
) -> TrainResult:
    """Train a network of the user's own and write a deployable checkpoint.

    The module takes (T, B, ...) and returns logits, (B, K) or (T, B, K), which are averaged over
    time; or a dict of them, of which ``'main'`` is deployed. Models of SpikingJelly and snnTorch
    are fed their sequences and reset by :class:`Imported`. The auxiliary paths are there while it
    trains, and change nothing that the module itself computes.

    Everything else, the folder among it, is as in :func:`purespike.trainer.training.fit.train`.

    Args:
        module: ``package.module:factory``, whose code is run; a callable that gives a module; or a
            module, which is trained in place from its present weights. A checkpoint can be
            compiled later only where a dotted path leads to what was given.
        data: a `DataConfig`; an opened `DataSet`; or what
            :mod:`purespike.trainer.data.sequences` takes: arrays with time in front, a torch
            ``Dataset``, a pair (train, test) of them.
        folder: where to write; made if missing.
        config: how to train it; ``encoder`` and ``shift`` are of the digits only.
        aap: names of modules, as ``named_modules`` has them, whose spikes the accumulation pathway
            adds up; blocks, or the neurons that end them.
        shortcut: names of modules that get a shortcut branch.
        steps: time steps T, where the data do not say it: for images.
        file: what the arrays were read from; the checkpoint keeps it.
        resume_from: a ``last.ckpt`` of the same training, or the folder that holds it.
        finish: train no further: test what the resumed training has learnt, and write it.
        tables: the recipe that says all this; kept in the folder, for ``resume_from``.
        progress: show a progress bar.
        tensorboard: write TensorBoard logs too.

    Raises:
        ConfigError: if the module does not run on the data, gives no logits, or a path cannot be
            attached where it was named.
        DataError: if the data are missing, damaged or of another form.
        LabelError: if a label is none of the classes.
        PurespikeError: as of :func:`purespike.trainer.training.fit.train`.

    Warns:
        NotCompilableWarning: if the compiler would refuse the network, and why.
    """
    config = for_this_processor(config or TrainConfig())
    chosen = ModuleConfig(path_of(module), tuple(aap), tuple(shortcut), steps)
    require_integers(chosen, config, 1)

    def prepare(processes: World) -> Task:
        opened = _opened(data, steps, config.seed)
        own = own_network(module, chosen, opened.shape, opened.steps, seed=config.seed)
        outputs = f"the outputs of {chosen.module or type(main_of(own.model)).__name__}"
        opened = with_classes(opened, own.classes, outputs)
        _require_parts(own, config, processes)
        _warn_if_not_compilable(own, opened)
        source = file if file is not None else opened.config
        return Task(
            own.model,
            feed(opened, config, processes),
            {
                "module": to_dict(replace(chosen, steps=opened.steps)),
                "train": stated(config),
                "data": described(opened),
            },
            lambda model, metrics: save_checkpoint(folder / MODEL, own, config, metrics, source),
            main_of,
            _statement(opened, config, file),
        )

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # of dropout, say
        return run_training(
            prepare,
            config,
            folder,
            resume_from=resume_from,
            finish=finish,
            tables=tables,
            progress=progress,
            tensorboard=tensorboard,
        )


def _opened(data: Any, steps: int | None, seed: int) -> DataSet:
    if isinstance(data, DataConfig):
        if steps is not None or data.code == SEQUENCE:
            return load_data(data, steps, seed)
        raise ConfigError(
            "the data do not say how many time steps a sample lasts",
            found=f"{data.name} in the {data.code} code",
            allowed="a number of steps",
            where="model.steps",
            remedy="state it, such as 4",
        )
    opened = data if isinstance(data, DataSet) else open_sequences(data)
    if steps not in (None, opened.steps):
        raise ConfigError(
            "the samples last another number of time steps",
            found=f"T = {opened.steps}",
            allowed=f"T = {steps}",
            where="model.steps",
            remedy="leave it out: the data say it",
        )
    return opened


def _statement(data: DataSet, config: TrainConfig, file: DataFile | None) -> str:
    name = Path(file.file).name if file else data.config.name if data.config else "data"
    every = data.train.source is data.test.source
    return (
        f"{name}: {len(data.train) - config.validation} samples to train on, {config.validation} "
        f"held out of them for validation, {len(data.test)} to test"
        + (f" (every {FOLD}th)" if every else "")
    )


def _require_parts(own: OwnNetwork, config: TrainConfig, processes: World) -> None:
    if config.recompute:
        raise ConfigError(
            "activations are recomputed by the blocks of the networks that come with purespike",
            found="recompute = true",
            allowed="false",
            where="train.recompute",
            remedy="use torch.utils.checkpoint inside of your module",
        )
    norms = [
        name
        for name, part in own.model.named_modules()
        if isinstance(part, _BatchNorm) and not isinstance(part, BatchNorm2d)
    ]
    if processes.size > 1 and config.sync_batchnorm and norms:
        raise ConfigError(
            "this batch normalization cannot take its statistics over several processes",
            found=norms[0],
            allowed="BatchNorm2d of purespike.trainer.nn.layers",
            where="train.sync_batchnorm",
            remedy="train with one process, or set train.sync_batchnorm=false",
        )


def _short(found: Sequence[Finding]) -> str:
    """Each place in a few words, and each remedy once."""
    places: dict[str, list[str]] = {}
    for f in found:
        measured = f.measured.partition("; witness")[0]
        places.setdefault(f.remedy, []).append(f"{f.rule.id} {f.where}: {measured}")
    lines = []
    for remedy, said in places.items():
        left = len(said) - _PLACES
        more = [f"and {left} more such places"] if left > 0 else []
        lines.append("; ".join(said[:_PLACES] + more) + (f"; {remedy}" if remedy else ""))
    return "".join(f"\n  {line}" for line in lines)


def _warn_if_not_compilable(own: OwnNetwork, data: DataSet) -> None:
    """Say it before hours of training, not after: rewrite the graph as the compiler would."""
    spikes = data.domain == SPIKE or all(
        bool(((x == 0) | (x == 1)).all())
        for x, _ in (data.train[i] for i in range(min(_LOOK, len(data.train))))
    )
    where = ""
    try:
        domain = SPIKE if spikes else ANALOG
        graph = capture_deployed(own.model, own.shape, own.steps, domain=domain).graph
        for each in standard_pipeline(host_encoder=not spikes).network:
            graph = each.rewrite(graph)
        found = [f for f in (*check_domains(graph), *check_operations(graph)) if f.status == "FAIL"]
        if found:
            where = _short(found)
    except PurespikeError as error:
        where = f" {error}"
    if where:
        warnings.warn(
            f"this network trains, but cannot be deployed as spikes as it is:{where}",
            NotCompilableWarning,
            stacklevel=2,
        )
