"""The deployable checkpoint: a folder with ``weights.safetensors`` and ``checkpoint.json``.

Nothing in it is executed on loading: the weights are plain tensors, everything else is JSON. It
holds the network with its auxiliary paths, so that the compiler can show what it removes. Of a
network of the user's own it holds the dotted path, the form of its input and the names that the
auxiliary paths are attached to; the code that the path names runs only where the caller trusts it.
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
from torch import Tensor, nn

import purespike
from purespike.compiler.files.kinds import CHECKPOINT
from purespike.compiler.files.reading import read_text
from purespike.compiler.files.writing import staged_folder
from purespike.compiler.wording import Advice
from purespike.trainer.data.config import SEQUENCE, DataConfig, DataFile
from purespike.trainer.errors import CheckpointError, ConfigError
from purespike.trainer.networks.configuration import ModelConfig, NetworkConfig, from_dict, to_dict
from purespike.trainer.networks.dual_stream import DualStreamNetwork
from purespike.trainer.networks.models import build
from purespike.trainer.networks.own import Given, ModuleConfig, OwnNetwork, own_network
from purespike.trainer.training.settings import TrainConfig

__all__ = ["FORMAT_VERSION", "Checkpoint", "load_checkpoint", "save_checkpoint"]

FORMAT_VERSION = 1
WEIGHTS = "weights.safetensors"
DESCRIPTION = CHECKPOINT.manifest
# What made the network, and reads its configuration; files without the key are of the first.
BUILDERS: dict[str, type[ModelConfig] | type[NetworkConfig] | type[ModuleConfig]] = {
    "resnet": ModelConfig,
    "network": NetworkConfig,
    "module": ModuleConfig,
}
_LARGEST_DESCRIPTION = 1 << 20  # bytes
_LARGEST_WEIGHTS = 4 << 30  # bytes
_LARGEST_SIDE = 1 << 20  # of an input
_DATA: tuple[type[DataConfig] | type[DataFile], ...] = (DataConfig, DataFile)


@dataclass(frozen=True)
class Checkpoint:
    """What a deployable checkpoint holds.

    Attributes:
        model: the network in evaluation mode, auxiliary paths included.
        config: what was built.
        shape: of the input, at one step of one sample.
        steps: T.
        train_config: how it was trained; its ``encoder`` is the input code.
        metrics: what was measured when it was written.
        data: what it was trained on; None is the digits in ``train_config.encoder``, or, for a
            network of the user's own, what was given in memory.
        versions: of purespike and torch that wrote it.
    """

    model: nn.Module
    config: ModelConfig | NetworkConfig | ModuleConfig
    shape: tuple[int, ...]
    steps: int
    train_config: TrainConfig
    metrics: dict[str, Any]
    versions: dict[str, str]
    data: DataConfig | DataFile | None = None


def save_checkpoint(
    folder: Path,
    model: DualStreamNetwork | OwnNetwork,
    train_config: TrainConfig,
    metrics: Mapping[str, Any],
    data: DataConfig | DataFile | None = None,
) -> Path:
    """Write a checkpoint folder, whole or not at all; an older one there is replaced.

    Args:
        folder: where.
        model: the network.
        train_config: how it was trained.
        metrics: JSON values to keep beside it.
        data: what it was trained on; None is the digits in ``train_config.encoder``, or, for a
            network of the user's own, what was given in memory.

    Returns:
        The folder.

    Raises:
        CheckpointError: if a weight is not finite.
        OutputError: if the folder holds something else, or cannot be written.
    """
    own = model if isinstance(model, OwnNetwork) else None
    module: nn.Module = model if isinstance(model, nn.Module) else model.model
    # Tensors that share their memory are written once each: safetensors takes no views.
    weights = {n: v.detach().clone().contiguous() for n, v in module.state_dict().items()}
    _check_finite(weights, str(folder))
    encoder = data.code if isinstance(data, DataConfig) else train_config.encoder
    description = {
        **CHECKPOINT.mark,
        "format_version": FORMAT_VERSION,
        "builder": next(k for k, cls in BUILDERS.items() if isinstance(model.config, cls)),
        "model": to_dict(model.config),
        "train": to_dict(train_config),
        "data": to_dict(data) if data else None,
        "encoder": encoder if own is None or isinstance(data, DataConfig) else SEQUENCE,
        "steps": model.steps if own else model.config.steps,
        "metrics": dict(metrics),
        "versions": {"purespike": purespike.__version__, "torch": str(torch.__version__)},
        **({"shape": list(own.shape), "classes": own.classes} if own else {}),
    }
    text = json.dumps(description, indent=2, sort_keys=True, allow_nan=False) + "\n"
    with staged_folder(folder, CHECKPOINT) as stage:
        (stage / WEIGHTS).write_bytes(save(weights))
        (stage / DESCRIPTION).write_text(text, encoding="utf-8")
    return folder


def load_checkpoint(
    folder: Path, *, trust: bool = False, network: Given | None = None
) -> Checkpoint:
    """Read a checkpoint folder.

    Args:
        folder: where.
        trust: whether the code may run that makes a network of the user's own, which the
            checkpoint names by its dotted path.
        network: that network, in place of the code that the checkpoint names: a module, which
            takes over the weights, a callable that gives one, or a dotted path.

    Raises:
        CheckpointError: if a file is missing, too large or damaged, the format version is another,
            a tensor is missing, unexpected, misshapen or not finite, the description names
            something unknown, such as a gate, or its code is not trusted.
        ConfigError: if the user's own code does not make the network that was trained.
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
    if not isinstance(builder, str) or builder not in BUILDERS:
        raise CheckpointError(
            "the checkpoint was made by a builder that this version does not have",
            found=repr(builder),
            allowed=", ".join(BUILDERS),
            where=f"{folder / DESCRIPTION}: builder",
            remedy="read it with the version of purespike that wrote it",
        )
    try:
        config = from_dict(BUILDERS[builder], description.get("model"), "model")
        train_config = from_dict(TrainConfig, description.get("train"), "train")
        stated = description.get("data")
        of_file = isinstance(stated, dict) and "file" in stated
        data = None if stated is None else from_dict(_DATA[of_file], stated, "data")
    except ConfigError as error:
        raise CheckpointError(
            f"the checkpoint describes something unknown: {error.message}",
            found=error.found,
            allowed=error.allowed,
            where=f"{folder / DESCRIPTION}: {error.where}",
            remedy="do not edit the description; train again or use a matching purespike",
        ) from error
    weights = _read_weights(folder / WEIGHTS)
    model: nn.Module
    if isinstance(config, ModuleConfig):
        own = _own(config, description, folder, trust, network)
        model, shape, steps = own.model, own.shape, own.steps
    else:
        model = _built(config, str(folder / DESCRIPTION))
        shape, steps = (config.in_channels, *config.size), config.steps
    others = "weights and description come from two runs; copy the folder again"
    if isinstance(config, ModuleConfig):
        others = (
            f"{config.module or 'the network'} makes another network than the one that was "
            "trained: take the code of then, or train again"
        )
    _check_tensors(model.state_dict(), weights, str(folder / WEIGHTS), others)
    _check_finite(weights, str(folder / WEIGHTS))
    model.load_state_dict(weights)
    return Checkpoint(
        model=model.eval(),
        config=config,
        shape=shape,
        steps=steps,
        train_config=train_config,
        metrics=dict(description.get("metrics", {})),
        versions=dict(description.get("versions", {})),
        data=data,
    )


def _own(
    config: ModuleConfig,
    description: Mapping[str, Any],
    folder: Path,
    trust: bool,
    network: Given | None,
) -> OwnNetwork:
    """Make the user's own network again, with the auxiliary paths that it was trained with."""
    where = f"{folder / DESCRIPTION}: "
    shape, steps = description.get("shape"), description.get("steps")
    sizes = [*shape, steps] if isinstance(shape, list) and shape else [0]
    if not all(type(size) is int and 0 < size < _LARGEST_SIDE for size in sizes):
        raise CheckpointError(
            "the description does not say what the network takes",
            found=f"shape {shape}, steps {steps}",
            allowed="a list of sizes, and a number of steps",
            where=where + "shape",
            remedy="do not edit the description; train again",
        )
    if network is None and not config.module:
        raise CheckpointError(
            "this network was made in memory, and no code is named that makes it",
            allowed="load_checkpoint(folder, network=module)",
            where=where + "model.module",
            remedy="train it by its dotted path, package.module:factory, to compile its checkpoint",
        )
    if network is None and not trust:
        raise CheckpointError(
            "the network of this checkpoint is made by code that it names",
            found=config.module,
            where=str(folder),
            remedy=Advice("if you trust it, say so: {trust}"),
        )
    return own_network(
        config.module if network is None else network,
        config,
        tuple(sizes[:-1]),
        sizes[-1],
        seed=int(description["train"].get("seed", 0)),
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
        file = _file(path, _LARGEST_DESCRIPTION)
        data = json.loads(read_text(file, _LARGEST_DESCRIPTION, CheckpointError, "the description"))
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
    for name in ("metrics", "versions"):
        if not isinstance(data.get(name, {}), dict):
            raise CheckpointError(
                f"the {name} of the checkpoint are not an object",
                found=type(data[name]).__name__,
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


def _check_tensors(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str, remedy: str
) -> None:
    for name in (n for n in expected if n in found):
        if found[name].shape != expected[name].shape or found[name].dtype != expected[name].dtype:
            raise CheckpointError(
                "a tensor does not fit the described network",
                found=f"{found[name].dtype} {tuple(found[name].shape)}",
                allowed=f"{expected[name].dtype} {tuple(expected[name].shape)}",
                where=f"{where}: {name}",
                remedy=remedy,
            )
    missing = sorted(set(expected) - set(found))
    extra = sorted(set(found) - set(expected))
    if missing or extra:
        raise CheckpointError(
            "the weights are not those of the described network",
            found=f"missing: {', '.join(missing) or 'none'}; extra: {', '.join(extra) or 'none'}",
            allowed=f"exactly the {len(expected)} tensors of the network",
            where=where,
            remedy=remedy,
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
