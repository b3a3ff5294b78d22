"""What a training keeps in its folder, so that it can be resumed as if nothing had happened."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from purespike.compiler.files.kinds import TRAINING
from purespike.compiler.files.writing import write_file
from purespike.trainer.training.learner import Learner
from purespike.trainer.training.lightning_setup import ResumeFile, plain_values
from purespike.trainer.training.logs import EPOCHS, FIRST_LOG, LAYERS, RECIPE, log_files
from purespike.trainer.training.places import LAST
from purespike.trainer.training.settings import TrainConfig

__all__ = ["BestEpoch", "WholeFiles", "keepers", "write_order"]

_BEST = "best.ckpt"


class WholeFiles(TorchCheckpointIO):
    """Checkpoints that are written beside their place, and then take it.

    Lightning writes them into TMPDIR. Where that is another file system, it copies them from there
    into their place, and a kill leaves half of one; on any, it leaves a file in TMPDIR.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint, whole or not at all."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_file(path, content.getbuffer())


class _Kept(ModelCheckpoint):
    """One file, written at the end of an epoch."""

    def __init__(self, folder: Path, name: str, monitor: str | None) -> None:
        super().__init__(
            folder,
            filename=name.removesuffix(".ckpt"),
            monitor=monitor,
            mode="max",
            save_top_k=1,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )


class BestEpoch(_Kept):
    """``best.ckpt``; a resumed training knows how good it is, wherever the folder lies by now."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, _BEST, "val_accuracy")
        self.file = folder / _BEST

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best accuracy; Lightning forgets it where the folder's name changed."""
        here = str(Path(str(self.dirpath)) / _BEST)
        known = {
            "dirpath": self.dirpath,
            "best_model_path": here,
            "kth_best_model_path": here,
            "best_k_models": {here: state_dict["best_model_score"]},
        }
        super().load_state_dict({**state_dict, **known})

    def weights(self) -> dict[str, Any]:
        """The learner's state in the best epoch."""
        state: dict[str, Any] = plain_values(self.file)["state_dict"]
        return state


class _Patience(EarlyStopping):
    """Early stop that a resumed training remembers: what had stopped trains no further."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True


class _Finish(L.Callback):
    """Trains no further: what was learnt until the interruption is tested and kept."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = True


def keepers(
    folder: Path,
    config: TrainConfig,
    file: ResumeFile | None,
    *,
    validated: bool,
    finish: bool = False,
) -> tuple[list[L.Callback], BestEpoch | None]:
    """The callbacks that keep ``last.ckpt`` and ``best.ckpt`` and stop early.

    ``last.ckpt`` comes last: it holds what the others know after the same epoch.

    Args:
        folder: of the training.
        config: how it is trained.
        file: what it is resumed from; its ``best.ckpt`` is copied where it lies elsewhere.
        validated: whether samples are held out.
        finish: train no further.
    """
    found: list[L.Callback] = []
    best = BestEpoch(folder) if validated else None
    if best is not None:
        found.append(best)
        old = file.path.with_name(_BEST) if file else best.file
        if old.is_file() and old.resolve() != best.file.resolve():
            write_file(best.file, old.read_bytes())
    if config.patience:
        found.append(_Patience("val_accuracy", mode="max", patience=config.patience))
    found += [_Finish()] if finish else []
    return [*found, _Kept(folder, LAST, None)], best


def write_order(
    learner: Learner, folder: Path, file: ResumeFile | None, recipe: Mapping[str, Any] | None
) -> None:
    """What ``purespike plot`` and ``train --resume`` need beside the log and the resume file.

    The layers in order of depth, which the log does not keep; where the log of this training
    begins: an earlier one in the same folder has left its own; and the recipe that it goes on by.
    """
    place = folder / LAYERS
    goes_on = file is not None and file.path.parent.resolve() == folder.resolve()
    if goes_on and place.is_file():
        return
    order = {
        "layers": [name for name, _ in learner.layers],
        "neurons": [name for name, _ in learner.neurons],
        FIRST_LOG: max(log_files(folder), default=-1) + 1,
        EPOCHS: learner.config.epochs,
        RECIPE: recipe,
        **TRAINING.mark,
    }
    write_file(place, json.dumps(order, indent=1) + "\n")
