"""What describes a data set: frozen, checked where it is made, and the same in a TOML file."""

from __future__ import annotations

from dataclasses import dataclass

from purespike.trainer.data.augment import check_augmentation
from purespike.trainer.errors import ConfigError
from purespike.trainer.nn.encoders import ENCODERS

__all__ = ["BINS", "DATA_SETS", "SEQUENCE", "DataConfig", "DataFile", "Kind"]

BINS = ("time", "count")
SEQUENCE = "sequence"  # the code of samples that need none


@dataclass(frozen=True)
class Kind:
    """What sort of data a named set holds.

    Attributes:
        events: frames of an event camera, not images.
        on_disk: read from a folder that the user names.
        sized: brought to a size of the user's choice.
        downloads: can be fetched by tonic when asked to.
        validated: comes with a part to make choices on, beside the test.
    """

    events: bool = False
    on_disk: bool = True
    sized: bool = False
    downloads: bool = False
    validated: bool = False


DATA_SETS = {
    "digits": Kind(on_disk=False),
    "event_digits": Kind(events=True, on_disk=False),
    "mnist-5k": Kind(on_disk=False, validated=True),
    "mnist-5k-events": Kind(events=True, on_disk=False, validated=True),
    "cifar10": Kind(),
    "cifar100": Kind(),
    "imagenet": Kind(sized=True),
    "dvs_gesture": Kind(events=True, sized=True, downloads=True),
    "cifar10_dvs": Kind(events=True, sized=True, downloads=True),
}


@dataclass(frozen=True)
class DataConfig:
    """Which data, in which code, changed how while training.

    Attributes:
        name: one of :data:`DATA_SETS`, or ``package.module:factory`` (see
            :mod:`purespike.trainer.data.custom`; that code is run).
        root: folder that holds the data; only for the sets that lie on disk.
        encoder: bit_plane, rate, latency or direct for images; events for an event camera;
            sequence for samples of your own that have time in front and go into the network as they
            are. None takes bit_plane or events.
        augment: names of :data:`purespike.trainer.data.augment.AUGMENTATIONS`, in order, each with
            an optional number: ``("crop:4", "flip")``. For training samples only.
        size: height and width that ImageNet images (default 224) or event frames (default: the
            sensor's 128) are brought to.
        bins: how events are dealt out to T frames: by equal spans of time, or by equal count. None
            takes time for simulated cameras and count for recordings.
        download: let tonic fetch a missing recording. Nothing is ever fetched without it.
        held_out: which part stands for the test: test, or validation while choices are made, so
            that the test is read once; only for sets that come with a validation part.
    """

    name: str = "digits"
    root: str | None = None
    encoder: str | None = None
    augment: tuple[str, ...] = ()
    size: int | None = None
    bins: str | None = None
    download: bool = False
    held_out: str = "test"

    def __post_init__(self) -> None:
        if self.name not in DATA_SETS and not _dotted(self.name):
            self._refuse("name", f"{', '.join(DATA_SETS)}, or package.module:factory")
        kind = DATA_SETS.get(self.name)
        if not isinstance(self.root, str | None):
            self._refuse("root", "a text, so that the description goes into a checkpoint")
        if not isinstance(self.augment, tuple) or not all(isinstance(a, str) for a in self.augment):
            self._refuse("augment", 'a tuple of texts, such as ("crop:4", "flip")')
        if kind is not None and kind.on_disk and not self.root:
            self._refuse("root", "the folder that holds the data", "download the data and name it")
        if not (kind and kind.on_disk) and self.root is not None:
            self._refuse("root", f"None, as {self.name} does not lie in a folder")
        if self.encoder is not None and self.encoder not in self.encoders:
            self._refuse("encoder", f"{', '.join(self.encoders)} for {self.name}")
        if self.size is not None and not (kind and kind.sized):
            self._refuse("size", f"None, as {self.name} has a size of its own")
        if self.size is not None and not (type(self.size) is int and 8 <= self.size <= 1024):
            self._refuse("size", "a whole number of pixels, 8 to 1024")
        if self.bins not in (None, *BINS) or (self.bins and not (kind and kind.events)):
            self._refuse("bins", "time or count, for an event camera only")
        if self.download and not (kind and kind.downloads):
            fetched = ", ".join(name for name, k in DATA_SETS.items() if k.downloads)
            self._refuse("download", f"False; only {fetched} can be fetched")
        validated = kind is not None and kind.validated
        if self.held_out not in ("test", *(["validation"] if validated else [])):
            having = ", ".join(name for name, k in DATA_SETS.items() if k.validated)
            self._refuse("held_out", f"test; only {having} have a validation part, too")
        if self.augment and self.code == SEQUENCE:
            self._refuse("augment", "nothing: sequences of your own are changed by your own code")
        for text in self.augment:
            check_augmentation(text, events=self.code == "events", name=self.name)

    @property
    def encoders(self) -> tuple[str, ...]:
        """The codes that this set can come in; the first is the default."""
        images = (*ENCODERS, "direct")
        kind = DATA_SETS.get(self.name)
        if kind is None:
            return (*images, "events", SEQUENCE)
        return ("events",) if kind.events else images

    @property
    def code(self) -> str:
        """The encoder, where None stands for the default."""
        return self.encoder or self.encoders[0]

    def _refuse(self, name: str, allowed: str, remedy: str = "correct the value") -> None:
        raise ConfigError(
            f"{name} of a data set is not allowed",
            found=repr(getattr(self, name)),
            allowed=allowed,
            where=f"DataConfig({name}=...)",
            remedy=remedy,
        )


@dataclass(frozen=True)
class DataFile:
    """A .npz file that was trained on.

    Attributes:
        file: its path, absolute.
        sha256: of its bytes; "" before it was read.
    """

    file: str
    sha256: str = ""


def _dotted(name: str) -> bool:
    module, colon, factory = name.partition(":")
    return (
        bool(colon) and factory.isidentifier() and all(p.isidentifier() for p in module.split("."))
    )
