"""The kinds of folder that purespike writes, and what tells each from anyone else's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = "purespike"  # the key of a manifest whose value is the kind of folder
_LARGEST = 1 << 24  # bytes of a manifest


@dataclass(frozen=True)
class Kind:
    """A kind of folder that purespike writes.

    Attributes:
        name: What it is called, and the value of the key ``purespike`` in its manifest.
        manifest: The JSON file that tells it from any other folder.
        older: Whether a manifest without that key is ours all the same, of a version before it.
        files: What a manifest of ours lists beside itself: {"bytes": n, "sha256": text} by name,
            or {} for a file whose content it does not keep.
    """

    name: str
    manifest: str
    older: Callable[[Mapping[str, Any]], bool]
    files: Callable[[Mapping[str, Any]], Mapping[str, Any]]

    @property
    def mark(self) -> dict[str, str]:
        """What the manifest of such a folder has to hold."""
        return {MARK: self.name}

    def read(self, folder: Path) -> Mapping[str, Any] | None:
        """The manifest of a folder, None if it has none of ours.

        Raises:
            OSError: If it cannot be read.
        """
        path = folder / self.manifest
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST:
            return None
        try:
            data = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return None
        if not isinstance(data, dict):
            return None
        ours = data[MARK] == self.name if MARK in data else self.older(data)
        return data if ours else None


def _versions(data: Mapping[str, Any]) -> bool:
    versions = data.get("versions")
    return isinstance(versions, dict) and MARK in versions


def _older_bundle(data: Mapping[str, Any]) -> bool:
    keys = {"format", "options", "versions", "files"}
    return set(data) == keys and data["format"] == 1 and _versions(data)


def _older_checkpoint(data: Mapping[str, Any]) -> bool:
    return data.get("format_version") == 1 and {"model", "train"} <= set(data) and _versions(data)


def _older_training(data: Mapping[str, Any]) -> bool:
    lists = [data.get("layers"), data.get("neurons")]
    return set(data) <= {"layers", "neurons", "first_log"} and all(
        isinstance(names, list) and all(isinstance(n, str) for n in names) for names in lists
    )


def _bundle_files(data: Mapping[str, Any]) -> Mapping[str, Any]:
    files = data.get("files")
    return files if isinstance(files, dict) else {}


BUNDLE = Kind("bundle", "manifest.json", _older_bundle, _bundle_files)
CHECKPOINT = Kind(
    "checkpoint", "checkpoint.json", _older_checkpoint, lambda _: {"weights.safetensors": {}}
)
TRAINING = Kind("training", "layers.json", _older_training, lambda _: {})
GRAPHS = Kind("graph dump", "graphs.json", lambda _: False, _bundle_files)
# What `make` builds beside the sources is ours as well.
PROGRAM = Kind(
    "C program",
    "program.json",
    lambda _: False,
    lambda data: {**_bundle_files(data), "network": {}, "trace": {}},
)
SHARDS = Kind("test set's finished parts", "shards.json", lambda _: False, lambda _: {})
