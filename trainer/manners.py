"""Manners around Lightning: quiet, cleanly interrupted, and careful with resume files."""

from __future__ import annotations

import logging
import pickle
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.fabric.utilities.warnings import PossibleUserWarning

from purespike.trainer.errors import CheckpointError, TrainingInterrupted

__all__ = ["clean_interrupt", "quiet", "resume_file"]


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


@contextmanager
def clean_interrupt(folder: Path) -> Iterator[None]:
    """Turn Lightning's way of ending on Ctrl-C (ignore SIGINT, exit) into an error of ours."""
    main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main_thread else None
    try:
        yield
    except SystemExit as error:
        kept = folder / "last.ckpt"
        resume = f"resume from {kept}" if kept.is_file() else "no epoch was complete: start again"
        raise TrainingInterrupted(
            "the training was interrupted",
            found="Ctrl-C" if type(error) is SystemExit else "SIGTERM",  # Lightning derives one
            where=str(folder),
            remedy=resume,
        ) from error
    finally:
        if main_thread:
            signal.signal(signal.SIGINT, handler)


def resume_file(path: Path | None) -> Path | None:
    """Find the file to resume from and check that it can be read without running code.

    Args:
        path: the file, or the folder with its ``last.ckpt``; None to start afresh.

    Raises:
        CheckpointError: if it is missing, damaged or holds more than plain values and tensors.
    """
    if path is None:
        return None
    file = path / "last.ckpt" if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(
            "there is nothing to resume from",
            found="no such file",
            allowed="a last.ckpt that a training wrote",
            where=str(file),
            remedy="start without resume_from, or name the folder of the interrupted training",
        )
    try:
        torch.load(file, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(
            "the resume file cannot be read",
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            allowed="a last.ckpt that a training wrote (plain values and tensors only)",
            where=str(file),
            remedy="start again without resume_from",
        ) from error
    return file
