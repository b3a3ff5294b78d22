"""Training from start to a deployable checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from purespike.compiler.files.writing import claimed
from purespike.compiler.report.formats.notebook import listed
from purespike.compiler.report.tables.table import Table, headings, numbers
from purespike.compiler.statistics import wilson_interval
from purespike.compiler.storage import STORAGE, said
from purespike.compiler.wording import Advice
from purespike.trainer.data import DataConfig, DataSet, loader
from purespike.trainer.data.config import DataFile
from purespike.trainer.data.sequences import described
from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.attached import logits as named_logits
from purespike.trainer.networks.configuration import ModelConfig, NetworkConfig, to_dict
from purespike.trainer.networks.dual_stream import DualStreamNetwork
from purespike.trainer.networks.models import build, main_only
from purespike.trainer.training.batches import Batches, Feed, open_feed
from purespike.trainer.training.checkpoint import save_checkpoint
from purespike.trainer.training.distributed import World, leave_at_exit, world
from purespike.trainer.training.integers import require_integers, train_integers
from purespike.trainer.training.learner import Learner
from purespike.trainer.training.lightning_setup import (
    added_up,
    clean_interrupt,
    quiet,
    resume_file,
    same_threads,
    warn_of_slow_precision,
)
from purespike.trainer.training.places import LAST, MODEL, require_training
from purespike.trainer.training.processor import for_this_processor
from purespike.trainer.training.progress import TrainingProgress
from purespike.trainer.training.recompute import recompute
from purespike.trainer.training.resume_files import WholeFiles, keepers, write_order
from purespike.trainer.training.settings import TrainConfig, stated

__all__ = ["Task", "TrainResult", "evaluate", "run_training", "train"]


@dataclass(frozen=True)
class TrainResult:
    """What a training gave.

    Attributes:
        model: the trained network with its auxiliary paths, in evaluation mode; a network of the
            user's own with paths is `Attached`, whose ``network`` is the module that was given.
        checkpoint: folder of the deployable checkpoint.
        correct: test samples that the main head alone classifies rightly.
        n: test samples.
        interval: Wilson 95 % interval of the accuracy, as fractions.
        heads: test accuracy of each head, as fractions; 'main' is the one that is deployed.
        gradient_norm: mean norm of the first layer's gradient over the first epoch that this call
            trained; 0 if there was none left to train.
        seconds: wall time of the training itself.
    """

    model: nn.Module
    checkpoint: Path
    correct: int
    n: int
    interval: tuple[float, float]
    heads: dict[str, float]
    gradient_norm: float
    seconds: float

    def __repr__(self) -> str:
        """One line: where, and how good."""
        low, high = (100 * x for x in self.interval)
        return (
            f"TrainResult({str(self.checkpoint)!r}, {100 * self.accuracy:.2f} % of {self.n}, "
            f"95 % interval {low:.2f} to {high:.2f} %)"
        )

    def _repr_html_(self) -> str:
        """For notebooks: how good each head is; 'main' is the one that is deployed."""
        rows = tuple((name, f"{100 * right:.2f} %") for name, right in self.heads.items())
        columns = (*headings("head"), *numbers("right"))
        return listed(repr(self), Table("Test accuracy by head", columns, rows))

    @property
    def accuracy(self) -> float:
        """Test accuracy of the main head alone, as a fraction."""
        return self.correct / self.n


def train(
    model_config: ModelConfig | NetworkConfig,
    config: TrainConfig,
    folder: Path,
    *,
    data: DataConfig | DataSet | None = None,
    file: DataFile | None = None,
    resume_from: Path | None = None,
    finish: bool = False,
    tables: Mapping[str, Any] | None = None,
    progress: bool = True,
    tensorboard: bool = False,
) -> TrainResult:
    """Train a network and write a deployable checkpoint.

    The folder receives ``model/`` (the deployable checkpoint), ``last.ckpt`` after each epoch (to
    resume from), ``best.ckpt`` if images are held out for validation, and ``log/version_<k>/
    metrics.csv``, which ``purespike plot`` draws. The test images are looked at once, at the end,
    by the network without its auxiliary paths. Several processes that torchrun started train
    together, each on its share of every batch; the first of them writes.

    Args:
        model_config: the network.
        config: how to train it.
        folder: where to write; made if missing.
        data: on what; None is the digits, in the code that ``config.encoder`` names. Or sequences
            that were opened (:mod:`purespike.trainer.data.sequences`).
        file: what those were read from; the checkpoint keeps it.
        resume_from: a ``last.ckpt`` of the same configuration, or the folder that holds it.
        finish: train no further: test what the resumed training has learnt, and write it.
        tables: the recipe that says all this; kept in the folder, for `resume_from`.
        progress: show a progress bar.
        tensorboard: write ``tensorboard/version_<k>/`` too.

    Raises:
        ConfigError: if the network does not fit the encoded data, too few are left to train, or a
            device or package that was asked for is missing.
        DataError: if the data are missing or damaged.
        CheckpointError: if the resume file is missing or of another configuration.
        OutputError: if the folder holds anything but an earlier training, or cannot be written.
        TrainingDiverged: if the loss is not finite any more.
        TrainingInterrupted: on Ctrl-C, after the last whole epoch has been kept.
    """
    config = for_this_processor(config)
    require_integers(model_config, config, world().size)
    source = file or (data.config if isinstance(data, DataSet) else data)
    return run_training(
        lambda processes: Task(
            build(model_config, config.seed),
            open_feed(model_config, config, data, processes),
            {
                "model": to_dict(model_config),
                "train": stated(config),
                **({"data": described(data)} if data else {}),
            },
            lambda model, metrics: save_checkpoint(folder / MODEL, model, config, metrics, source),
            main_only,
        ),
        config,
        folder,
        resume_from=resume_from,
        finish=finish,
        tables=tables,
        progress=progress,
        tensorboard=tensorboard,
    )


@dataclass(frozen=True, eq=False)
class Task:
    """What a training needs to know of a network and its data.

    Attributes:
        model: trained in place.
        feed: where batches come from.
        description: what must be the same when the training is resumed, as JSON values.
        save: writes the deployable checkpoint of the trained model with its metrics.
        main: gives the deployed part of the trained model.
        statement: what is trained on which samples, for whoever watches.
    """

    model: nn.Module
    feed: Feed
    description: dict[str, Any]
    save: Callable[[Any, dict[str, Any]], Path]
    main: Callable[[Any], nn.Module]
    statement: str = ""


def run_training(
    prepare: Callable[[World], Task],
    config: TrainConfig,
    folder: Path,
    *,
    resume_from: Path | None,
    finish: bool = False,
    tables: Mapping[str, Any] | None = None,
    progress: bool,
    tensorboard: bool,
) -> TrainResult:
    """Train what ``prepare`` opens, once it is known that the training can be written.

    Args:
        prepare: opens network and data for the processes that train together.
        config: as of `train`, like everything else here.
        folder: where to write.
        resume_from: what to go on from.
        finish: train no further.
        tables: kept in the folder.
        progress: show a progress bar.
        tensorboard: write TensorBoard logs.

    Raises:
        As `train`.
    """
    processes = world()
    if processes.rank == 0:
        require_training(folder, resumed=resume_from in (folder, folder / LAST))
    _require_parts(config, tensorboard)
    file = resume_file(resume_from)
    warn_of_slow_precision(config)
    task = prepare(processes)
    batches, model = task.feed, task.model
    training = batches.training
    if config.channels_last or config.spike_kernels:
        # Torch documents the argument, but declares it for no overload.
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner = Learner(
        model,
        config,
        iterations=config.epochs * len(training),
        description=task.description,
        dealt=batches.dealt,
    )
    start = time.perf_counter()
    with ExitStack() as manners:
        if processes.rank == 0:
            manners.enter_context(claimed(folder, folder, "training"))
            write_order(learner, folder, file, tables)
        for manner in (
            quiet(),
            said(folder, STORAGE),
            clean_interrupt(folder, file),
            same_threads(file),
        ):
            manners.enter_context(manner)
        if config.recompute:
            manners.enter_context(recompute(model))
        held = batches.validation is not None
        callbacks, best = keepers(folder, config, file, validated=held, finish=finish)
        callbacks += [TrainingProgress(task.statement)] if progress and processes.rank == 0 else []
        own = not isinstance(model, DualStreamNetwork)
        runner = _runner(config, processes, callbacks, _loggers(folder, tensorboard), own)
        with added_up(model, config, file, processes.size) as learner.kernels:
            runner.fit(
                learner,
                training,
                batches.validation,
                ckpt_path=file.path if file else None,
                weights_only=True,
            )
        seconds = time.perf_counter() - start
        state = learner.state_dict()
        if config.deploy == "best" and best is not None and processes.rank == 0:
            state = best.weights()
        # Without joined statistics each process has running ones of its own: take the first one's.
        learner.load_state_dict(runner.strategy.broadcast(state))
        learner.to("cpu")
        result: TrainResult | None = None
        if config.integer_epochs:
            task = replace(task, model=train_integers(task.model, config, training))
            seconds = time.perf_counter() - start
        if processes.rank == 0:
            result = _report(learner, task, seconds)
        return cast("TrainResult", runner.strategy.broadcast(result))


def _require_parts(config: TrainConfig, tensorboard: bool) -> None:
    """Refuse what this machine cannot do, before anything starts."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "there is no GPU that torch can use",
            found=f"torch {torch.__version__}",
            allowed="cpu",
            where="TrainConfig(device=...)",
            remedy=Advice("train on the CPU ({device}), or install a torch with CUDA"),
        )
    if tensorboard and not (find_spec("tensorboard") or find_spec("tensorboardX")):
        raise ConfigError(
            "TensorBoard logs need a package that is not installed",
            allowed="tensorboardX or tensorboard",
            where="tensorboard",
            remedy="pip install 'purespike[train]', or do without: metrics.csv is always written",
        )


def _loggers(folder: Path, tensorboard: bool) -> list[Logger]:
    loggers: list[Logger] = [CSVLogger(folder, name="log")]
    return [*loggers, TensorBoardLogger(folder, name="tensorboard")] if tensorboard else loggers


def _runner(
    config: TrainConfig,
    processes: World,
    callbacks: list[L.Callback],
    loggers: list[Logger],
    own: bool,
) -> L.Trainer:
    """Lightning's loop over epochs and batches, on one process or on what torchrun started."""
    several = processes.size > 1
    if several:
        leave_at_exit()
    backend = "nccl" if config.device == "cuda" else "gloo"
    return L.Trainer(
        accelerator=config.device,
        devices=processes.per_machine,
        num_nodes=processes.machines,
        # A network of the user's own may have weights that nothing uses.
        strategy=DDPStrategy(process_group_backend=backend, find_unused_parameters=own)
        if several
        else "auto",
        precision="bf16-mixed" if config.precision == "bf16" else "32-true",
        deterministic=config.device == "cuda",
        max_epochs=config.epochs,
        gradient_clip_val=config.gradient_clip,
        callbacks=callbacks,
        plugins=WholeFiles(),
        logger=loggers,
        log_every_n_steps=1 << 30,  # by epoch only
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )


def _report(learner: Learner, task: Task, seconds: float) -> TrainResult:
    """Test the trained network, alone and with its auxiliary heads, and write the checkpoint."""
    model, test = task.model, task.feed.test
    model.eval()
    correct, n = count_correct(task.main(model), test)["main"]
    heads = {head: right / n for head, (right, n) in count_correct(model, test).items()}
    interval = wilson_interval(correct, n)
    metrics = {"correct": correct, "n": n, "accuracy": correct / n, "interval": list(interval)}
    first = learner.gradient_norms[: len(task.feed.training)]
    return TrainResult(
        model=model,
        checkpoint=task.save(model, metrics),
        correct=correct,
        n=n,
        interval=interval,
        heads=heads,
        gradient_norm=sum(first) / max(len(first), 1),
        seconds=seconds,
    )


def count_correct(model: nn.Module, batches: Batches) -> dict[str, tuple[int, int]]:
    """Count what each head classifies rightly, and of how many, in evaluation mode.

    Args:
        model: the network; its mode is restored afterwards.
        batches: inputs (T, B, ...) and labels (B,).
    """
    counts: dict[str, tuple[int, int]] = {}
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for spikes, expected in batches:
            for head, logits in named_logits(model(spikes)).items():
                right, n = counts.get(head, (0, 0))
                hits = int((logits.argmax(1) == expected).sum())
                counts[head] = (right + hits, n + len(expected))
    model.train(was_training)
    return counts


def evaluate(
    model: DualStreamNetwork, images: Tensor, labels: Tensor, encoder_name: str, *, seed: int = 0
) -> dict[str, int]:
    """Count the images that each head classifies rightly, in evaluation mode.

    Args:
        model: the network; its mode is restored afterwards.
        images: grey levels, uint8 (N, 1, 8, 8).
        labels: (N,).
        encoder_name: how to make spikes of them.
        seed: of the ``rate`` code.
    """
    batches = loader(images, labels, encoder_name, model.config.steps, batch_size=256, seed=seed)
    return {head: right for head, (right, _) in count_correct(model, batches).items()}
