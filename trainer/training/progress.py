"""One line in the terminal that shows how a training goes."""

from __future__ import annotations

from typing import Any, cast

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from purespike.trainer.training.learner import Learner

__all__ = ["TrainingProgress"]


class TrainingProgress(L.Callback):
    """A rich progress bar over all iterations with smoothed loss, accuracy, rate and gradient.

    Args:
        statement: printed above it.
        console: where; by default the standard error output.
    """

    def __init__(self, statement: str = "", console: Console | None = None) -> None:
        self._statement = statement
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(bar_width=16),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[measured]}"),
            console=console or Console(stderr=True),
        )
        self._smooth: dict[str, float] = {}
        self._said = False  # which layers add up spikes

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Open the bar, at the iteration a resumed training starts from."""
        learner = cast("Learner", pl_module)
        if self._statement:
            self._progress.console.print(self._statement, markup=False, highlight=False)
        self._progress.start()
        self._task = self._progress.add_task(
            "", total=learner.iterations, completed=trainer.global_step, epoch="", measured=""
        )

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Advance by one iteration."""
        learner = cast("Learner", pl_module)
        if learner.kernels is not None and not self._said:
            self._said = True
            self._progress.console.print(str(learner.kernels), markup=False, highlight=False)
        now = {
            "loss": learner.latest["loss"],
            "accuracy": learner.latest["accuracy"],
            "firing rate": learner.firing_rate,
            "gradient": learner.gradient_norms[-1] if learner.gradient_norms else 0.0,
        }
        for name, value in now.items():
            self._smooth[name] = 0.9 * self._smooth.get(name, value) + 0.1 * value
        self._progress.update(
            self._task,
            completed=trainer.global_step,
            epoch=f"{trainer.current_epoch + 1}/{trainer.max_epochs}",
            measured="  ".join(f"{name} {value:.3g}" for name, value in self._smooth.items()),
        )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Close the bar."""
        self._progress.stop()

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Close the bar before anything else is printed."""
        self._progress.stop()
