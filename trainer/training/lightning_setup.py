"""Manners around Lightning: quiet, cleanly interrupted, and careful with resume files."""

from __future__ import annotations

import logging
import pickle
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning
from torch import nn

from purespike.compiler.files.archives import DAMAGED
from purespike.compiler.files.reading import opened
from purespike.compiler.wording import Advice
from purespike.trainer.errors import CheckpointError, ConfigError, TrainingInterrupted
from purespike.trainer.nn.choosing import Choice
from purespike.trainer.nn.native import VARIABLE
from purespike.trainer.nn.spiking import Kernels, spike_kernels
from purespike.trainer.nn.synapses import available
from purespike.trainer.training.places import LAST, require_resume_file
from purespike.trainer.training.processor import bf16_factor, multiplies_bf16
from purespike.trainer.training.settings import TrainConfig

__all__ = [
    "CHOICES",
    "THREADS",
    "ResumeFile",
    "SlowPrecisionWarning",
    "ThreadsWarning",
    "added_up",
    "clean_interrupt",
    "plain_values",
    "quiet",
    "resume_file",
    "same_threads",
    "warn_of_slow_precision",
]

THREADS, CHOICES = "torch_threads", "spike_kernels"  # entries of a resume file
_LARGEST = 1 << 36  # bytes of a resume file
_UNREADABLE: tuple[type[Exception], ...] = (pickle.UnpicklingError, *DAMAGED)
_SEVERAL = 0.2  # the rate by which several processes choose: they must choose alike


class SlowPrecisionWarning(UserWarning):
    """A training in bfloat16 on a processor that has no instructions for it."""


class ThreadsWarning(UserWarning):
    """A training is resumed with the number of threads it was started with, not the present one."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Lightning's banners, tips and hints; its errors and our warnings come through."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=PossibleUserWarning)
        warnings.filterwarnings("ignore", module=r"lightning\..*")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@dataclass(frozen=True)
class ResumeFile:
    """A checked file to resume from.

    Attributes:
        path: of the file.
        threads: torch's, on which the training ran.
        choices: which layers added up spikes.
    """

    path: Path
    threads: int
    choices: dict[str, Choice]


@contextmanager
def clean_interrupt(folder: Path, resumed: ResumeFile | None = None) -> Iterator[None]:
    """Turn Lightning's way of ending on Ctrl-C (ignore SIGINT, exit) into an error of ours."""
    main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main_thread else None
    kept = folder / LAST
    before = _written(kept)  # an earlier training in this folder may have left one
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as error:  # the latter behind Lightning's epochs
        file = kept if _written(kept) != before else resumed.path if resumed else None
        by = "Ctrl-C" if type(error) in (SystemExit, KeyboardInterrupt) else "SIGTERM"
        interrupted = TrainingInterrupted(
            "the training was interrupted",
            found=f"{by}, {_after(file)}" if file else by,
            where=str(folder),
            remedy=f"resume from {file}" if file else "no epoch was complete: start again",
        )
        interrupted.kept = file
        raise interrupted from error
    finally:
        if main_thread:
            signal.signal(signal.SIGINT, handler)


def _after(file: Path) -> str:
    kept = plain_values(file)
    return f"after epoch {kept['epoch'] + 1} of {kept['purespike']['train']['epochs']}"


def _written(file: Path) -> int:
    return file.stat().st_mtime_ns if file.is_file() else 0


def resume_file(path: Path | None) -> ResumeFile | None:
    """Find the file to resume from and check that it can be read without running code.

    Args:
        path: the file, or the folder with its ``last.ckpt``; None to start afresh.

    Raises:
        CheckpointError: if it is missing, damaged or holds more than plain values and tensors.
    """
    if path is None:
        return None
    file = require_resume_file(path)
    try:
        entries = plain_values(file)
        threads = entries.get(THREADS)
        chosen = entries.get(CHOICES) or {}
        return ResumeFile(
            file,
            threads if isinstance(threads, int) else torch.get_num_threads(),
            {name: Choice(*choice) for name, choice in chosen.items()},
        )
    except _UNREADABLE as error:
        raise CheckpointError(
            "the resume file cannot be read",
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            allowed="a last.ckpt that a training wrote (plain values and tensors only)",
            where=str(file),
            remedy=Advice("start again without {resume}"),
        ) from error


def plain_values(file: Path) -> dict[str, Any]:
    """What torch saved in a file, nothing but values and tensors: no code of it is run.

    Raises:
        pickle.UnpicklingError: If it holds anything else.
        Exception: One of `purespike.compiler.files.archives.DAMAGED` if it is damaged.
    """
    with opened(file, _LARGEST, CheckpointError, "the resume file") as content:
        state = torch.load(content, weights_only=True, map_location="cpu")
    return state if isinstance(state, dict) else {}


def warn_of_slow_precision(config: TrainConfig) -> None:
    """Say when bfloat16 costs time in place of saving it, and how much, measured now.

    Warns:
        SlowPrecisionWarning: on a CPU that is not known to have instructions for it, and is slower.
    """
    if config.precision != "bf16" or config.device != "cpu" or multiplies_bf16():
        return
    factor = bf16_factor()
    if factor > 1.0:
        warnings.warn(
            f"this processor has no bfloat16 instructions that torch uses: a convolution takes "
            f"{factor:.1f} times as long as in float32 (measured now). Set "
            "train.precision=float32, or auto, which is bf16 only where it is faster.",
            SlowPrecisionWarning,
            stacklevel=3,
        )


@contextmanager
def added_up(
    model: nn.Module, config: TrainConfig, file: ResumeFile | None, processes: int
) -> Iterator[Kernels | None]:
    """Train by additions where the configuration says so, with the choices of what is resumed.

    Raises:
        ConfigError: if the kernels cannot be had.
    """
    if not config.spike_kernels:
        yield None
        return
    if reason := available():
        raise ConfigError(
            "the spike kernels cannot be had",
            found=reason,
            allowed="a C++ compiler with OpenMP, and a cache folder that can be written",
            where="train.spike_kernels",
            remedy=f"install g++, unset {VARIABLE}, or set train.spike_kernels=false",
        )
    rate = _SEVERAL if processes > 1 else None
    with spike_kernels(model, file.choices if file else None, rate=rate) as kernels:
        yield kernels


@contextmanager
def same_threads(file: ResumeFile | None) -> Iterator[None]:
    """Run on as many threads as the training that is resumed, and give them back.

    Torch splits a sum among its threads, so their number decides its last bits; on another one,
    an interrupted training would not give the weights of an uninterrupted one.
    """
    here = torch.get_num_threads()
    if file is None or file.threads == here:
        yield
        return
    warnings.warn(
        f"resuming on {file.threads} torch threads, as the training was started, not the {here} "
        f"of this process: only so the weights come out the same. Set "
        f"OMP_NUM_THREADS={file.threads} to silence this.",
        ThreadsWarning,
        stacklevel=3,
    )
    torch.set_num_threads(file.threads)
    try:
        yield
    finally:
        torch.set_num_threads(here)
