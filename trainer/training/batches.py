"""The batches that a training runs on: training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.utils.data import DataLoader

from purespike.trainer.data import DataConfig, DataSet, digits, load_data, loader
from purespike.trainer.data.sequences import with_classes
from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.configuration import ModelConfig, NetworkConfig
from purespike.trainer.nn.encoders import encoder
from purespike.trainer.training.distributed import World
from purespike.trainer.training.settings import TrainConfig

__all__ = ["Batches", "Feed", "feed", "feed_digits", "open_feed", "require_fit"]

_SIZES = ("in_channels", "height", "width")
Batches = DataLoader[tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Feed:
    """Where batches come from: inputs (T, B, C, H, W) and labels (B,).

    Attributes:
        training: to train on; new in every epoch.
        validation: held out of the training samples; None for none.
        test: for the end.
        dealt: whether ``training`` gives this process its share only; else it gives whole batches.
    """

    training: Batches
    validation: Batches | None
    test: Batches
    dealt: bool = False


def open_feed(
    model: ModelConfig | NetworkConfig,
    config: TrainConfig,
    data: DataConfig | DataSet | None,
    among: World,
) -> Feed:
    """Open the data that a training names; None is the digits, in the code of ``config.encoder``.

    Raises:
        ConfigError: if they do not fit the network, or too few are left for training.
        DataError: if they are missing or damaged.
    """
    if data is None:
        return feed_digits(model, config, among)
    opened = isinstance(data, DataSet)
    loaded = data if isinstance(data, DataSet) else load_data(data, model.steps, config.seed)
    named = loaded.config
    about = f"{named.name} in the {named.code} code" if named else "the data"
    takes = (model.steps, model.in_channels, *model.size)
    if opened or loaded.classes == 0:
        require_fit(takes, (loaded.steps, *loaded.shape), about, ("steps", *_SIZES))
        loaded = with_classes(loaded, model.classes, "classes of the network")
    require_fit((*takes[1:], model.classes), (*loaded.shape, loaded.classes), about)
    return feed(loaded, config, among)


def feed(data: DataSet, config: TrainConfig, processes: World) -> Feed:
    """Deal out a data set.

    Validation samples are spread evenly over the training samples, since folders come sorted by
    class. Where the processes do not divide an epoch, its first samples fill up the last batch.

    Raises:
        ConfigError: if too few samples are left for training, or processes do not divide a batch.
    """
    total, held_out = len(data.train), config.validation
    _require(total - held_out, total, config)
    if config.batch_size % processes.size:
        raise ConfigError(
            "a batch cannot be dealt out evenly",
            found=f"batch_size {config.batch_size}, {processes.size} processes",
            allowed=f"a multiple of {processes.size}",
            where="TrainConfig(batch_size=...)",
            remedy="choose another batch_size; it counts the samples of all processes together",
        )
    chosen = {i * total // held_out for i in range(held_out)}
    rest = [i for i in range(total) if i not in chosen] if held_out else range(total)
    training = data.loader(
        data.train.part(rest) if held_out else data.train,
        batch_size=config.batch_size // processes.size,
        shuffle=True,
        seed=config.seed,
        workers=config.workers,
        rank=processes.rank,
        ranks=processes.size,
    )
    validation = None
    if held_out:
        held = data.train.plain().part(sorted(chosen))
        validation = data.loader(held, batch_size=config.batch_size)
    return Feed(training, validation, data.loader(data.test, batch_size=256), dealt=True)


def feed_digits(model: ModelConfig | NetworkConfig, config: TrainConfig, processes: World) -> Feed:
    """Deal out the digits in the code that the training names, after checking that they fit.

    Raises:
        ConfigError: if they do not, or too few are left for training.
    """
    data = digits()
    takes = (model.in_channels, *model.size, model.classes)
    gives = (
        encoder(config.encoder).channels,
        *data.train_images.shape[-2:],
        int(data.train_labels.max()) + 1,
    )
    require_fit(takes, gives, f"the digits in the {config.encoder} code")
    held_out = config.validation
    _require(len(data.train_images) - held_out, len(data.train_images), config)
    processes.require(len(data.train_images) - held_out, config.batch_size)
    training = loader(
        data.train_images[held_out:],
        data.train_labels[held_out:],
        config.encoder,
        model.steps,
        batch_size=config.batch_size,
        seed=config.seed,
        shuffle=True,
        shift=config.shift,
    )
    validation = None
    if held_out:
        images, labels = data.train_images[:held_out], data.train_labels[:held_out]
        validation = loader(images, labels, config.encoder, model.steps, batch_size=256)
    test = loader(data.test_images, data.test_labels, config.encoder, model.steps, batch_size=256)
    return Feed(training, validation, test)


def require_fit(
    takes: tuple[int, ...],
    gives: tuple[int, ...],
    data: str,
    names: tuple[str, ...] = (*_SIZES, "classes"),
) -> None:
    """Refuse data that the network does not take: (channels, height, width, classes).

    Raises:
        ConfigError: if they differ.
    """
    if takes == gives:
        return
    raise ConfigError(
        f"the network does not fit {data}",
        found=", ".join(f"{n}={v}" for n, v in zip(names, takes, strict=True)),
        allowed=", ".join(f"{n}={v}" for n, v in zip(names, gives, strict=False)),
        where="ModelConfig",
        remedy="change the network or the encoder",
    )


def _require(left: int, total: int, config: TrainConfig) -> None:
    if left < config.batch_size:
        raise ConfigError(
            "too few samples are left for training",
            found=f"{left} samples, batch_size={config.batch_size}",
            allowed=f"validation <= {total - config.batch_size}"
            if total >= config.batch_size
            else f"batch_size <= {total}, of {total} samples",
            where="TrainConfig(validation=..., batch_size=...)",
            remedy="hold out fewer samples or use a smaller batch",
        )
