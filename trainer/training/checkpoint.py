"""The deployable checkpoint: a folder with ``weights.safetensors`` and ``checkpoint.json``.

Nothing in it is executed on loading: the weights are plain tensors, everything else is JSON. It
holds the network with its auxiliary paths, so that the compiler can show what it removes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

import purespike
from purespike.compiler.files.kinds import CHECKPOINT
from purespike.compiler.files.writing import staged_folder
from purespike.trainer.data import DataConfig
from purespike.trainer.errors import CheckpointError, ConfigError
from purespike.trainer.networks.configuration import ModelConfig, NetworkConfig, from_dict, to_dict
from purespike.trainer.networks.dual_stream import DualStreamNetwork
from purespike.trainer.networks.models import build
from purespike.trainer.training.settings import TrainConfig

__all__ = ["FORMAT_VERSION", "Checkpoint", "load_checkpoint", "save_checkpoint"]

FORMAT_VERSION = 1
WEIGHTS = "weights.safetensors"
DESCRIPTION = CHECKPOINT.manifest
# What made the network, and reads its configuration; files without the key are of the first.
BUILDERS: dict[str, type[ModelConfig] | type[NetworkConfig]] = {
    "resnet": ModelConfig,
    "network": NetworkConfig,
}
_LARGEST_DESCRIPTION = 1 << 20  # bytes
_LARGEST_WEIGHTS = 4 << 30  # bytes


@dataclass(frozen=True)
class Checkpoint:
    """What a deployable checkpoint holds.

    Attributes:
        model: the network in evaluation mode, auxiliary paths included.
        train_config: how it was trained; its ``encoder`` is the input code.
        metrics: what was measured when it was written.
        data: what it was trained on; None is the digits in ``train_config.encoder``.
        versions: of purespike and torch that wrote it.
    """

    model: DualStreamNetwork
    train_config: TrainConfig
    metrics: dict[str, Any]
    versions: dict[str, str]
    data: DataConfig | None = None


def save_checkpoint(
    folder: Path,
    model: DualStreamNetwork,
    train_config: TrainConfig,
    metrics: Mapping[str, Any],
    data: DataConfig | None = None,
) -> Path:
    """Write a checkpoint folder, whole or not at all; an older one there is replaced.

    Args:
        folder: where.
        model: the network.
        train_config: how it was trained.
        metrics: JSON values to keep beside it.
        data: what it was trained on; None is the digits in ``train_config.encoder``.

    Returns:
        The folder.

    Raises:
        CheckpointError: if a weight is not finite.
        OutputError: if the folder holds something else, or cannot be written.
    """
    weights = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    _check_finite(weights, str(folder))
    description = {
        **CHECKPOINT.mark,
        "format_version": FORMAT_VERSION,
        "builder": next(k for k, cls in BUILDERS.items() if isinstance(model.config, cls)),
        "model": to_dict(model.config),
        "train": to_dict(train_config),
        "data": to_dict(data) if data else None,
        "encoder": data.code if data else train_config.encoder,
        "steps": model.config.steps,
        "metrics": dict(metrics),
        "versions": {"purespike": purespike.__version__, "torch": str(torch.__version__)},
    }
    text = json.dumps(description, indent=2, sort_keys=True, allow_nan=False) + "\n"
    with staged_folder(folder, CHECKPOINT) as stage:
        (stage / WEIGHTS).write_bytes(save(weights))
        (stage / DESCRIPTION).write_text(text, encoding="utf-8")
    return folder


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint folder.

    Raises:
        CheckpointError: if a file is missing, too large or damaged, the format version is another,
            a tensor is missing, unexpected, misshapen or not finite, or the description names
            something unknown, such as a gate.
    """
    description = _read_description(folder / DESCRIPTION)
    version = description.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            "the checkpoint has another format version",
            found=repr(version),
            allowed=str(FORMAT_VERSION),
            where=f"{folder / DESCRIPTION}: format_version",
            remedy="read it with the version of purespike that wrote it, or train again",
        )
    builder = description.get("builder", "resnet")
    if builder not in BUILDERS:
        raise CheckpointError(
            "the checkpoint was made by a builder that this version does not have",
            found=repr(builder),
            allowed=", ".join(BUILDERS),
            where=f"{folder / DESCRIPTION}: builder",
            remedy="read it with the version of purespike that wrote it",
        )
    try:
        model_config = from_dict(BUILDERS[builder], description.get("model"), "model")
        train_config = from_dict(TrainConfig, description.get("train"), "train")
        stated = description.get("data")
        data = None if stated is None else from_dict(DataConfig, stated, "data")
    except ConfigError as error:
        raise CheckpointError(
            f"the checkpoint describes something unknown: {error.message}",
            found=error.found,
            allowed=error.allowed,
            where=f"{folder / DESCRIPTION}: {error.where}",
            remedy="do not edit the description; train again or use a matching purespike",
        ) from error
    model = _built(model_config, str(folder / DESCRIPTION))
    weights = _read_weights(folder / WEIGHTS)
    _check_tensors(model.state_dict(), weights, str(folder / WEIGHTS))
    _check_finite(weights, str(folder / WEIGHTS))
    model.load_state_dict(weights)
    return Checkpoint(
        model=model.eval(),
        train_config=train_config,
        metrics=dict(description.get("metrics", {})),
        versions=dict(description.get("versions", {})),
        data=data,
    )


def _built(config: ModelConfig | NetworkConfig, where: str) -> DualStreamNetwork:
    try:
        return build(config, seed=0)
    except ConfigError as error:
        raise CheckpointError(
            f"the described network cannot be built: {error.message}",
            found=error.found,
            allowed=error.allowed,
            where=f"{where}: model",
            remedy="do not edit the description; train again or use a matching purespike",
        ) from error


def _file(path: Path, largest: int) -> Path:
    if not path.is_file():
        raise CheckpointError(
            "a file of the checkpoint is missing",
            found="no such file",
            allowed=f"a folder with {DESCRIPTION} and {WEIGHTS}",
            where=str(path),
            remedy="name the checkpoint folder that a training wrote (its model/ folder)",
        )
    if path.stat().st_size > largest:
        raise CheckpointError(
            "a file of the checkpoint is too large",
            found=f"{path.stat().st_size} bytes",
            allowed=f"at most {largest} bytes",
            where=str(path),
            remedy="this is not a checkpoint that purespike wrote",
        )
    return path


def _read_description(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(_file(path, _LARGEST_DESCRIPTION).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            "the description of the checkpoint is not JSON",
            found=str(error),
            allowed="a JSON object",
            where=str(path),
            remedy="the file is damaged; copy the folder again",
        ) from error
    if not isinstance(data, dict):
        raise CheckpointError(
            "the description of the checkpoint is not an object",
            found=type(data).__name__,
            allowed="a JSON object",
            where=str(path),
            remedy="the file is damaged; copy the folder again",
        )
    return data


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(_file(path, _LARGEST_WEIGHTS))
    except SafetensorError as error:
        raise CheckpointError(
            "the weights of the checkpoint cannot be read",
            found=str(error),
            allowed="a safetensors file",
            where=str(path),
            remedy="the file is damaged; copy the folder again",
        ) from error


def _check_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str) -> None:
    missing = sorted(set(expected) - set(found))
    extra = sorted(set(found) - set(expected))
    if missing or extra:
        raise CheckpointError(
            "the weights are not those of the described network",
            found=f"missing: {', '.join(missing) or 'none'}; extra: {', '.join(extra) or 'none'}",
            allowed=f"exactly the {len(expected)} tensors of the network",
            where=where,
            remedy="weights and description come from two runs; copy the folder again",
        )
    for name, value in expected.items():
        if found[name].shape != value.shape or found[name].dtype != value.dtype:
            raise CheckpointError(
                "a tensor does not fit the described network",
                found=f"{found[name].dtype} {tuple(found[name].shape)}",
                allowed=f"{value.dtype} {tuple(value.shape)}",
                where=f"{where}: {name}",
                remedy="weights and description come from two runs; copy the folder again",
            )


def _check_finite(weights: Mapping[str, Tensor], where: str) -> None:
    for name, value in weights.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError(
                "a weight is not finite",
                found=f"{int((~value.isfinite()).sum())} NaN or infinite values",
                allowed="finite numbers",
                where=f"{where}: {name}",
                remedy="the training diverged; lower the learning rate and train again",
            )
