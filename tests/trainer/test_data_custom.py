"""Data sets of the user's own, named by a dotted path."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from purespike.compiler.ir.domain import SPIKE
from purespike.trainer.data import DataConfig, load_data
from purespike.trainer.errors import ConfigError, DataError
from purespike.trainer.nn.encoders import encode

MODULE = """
import torch
from torch.utils.data import TensorDataset

def images(n=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (n, 3, 6, 5), generator=generator).to(torch.uint8)
    data = TensorDataset(x, torch.arange(n) % 4)
    data.classes = ["a", "b", "c", "d"]
    return data

def pair():
    return images(10, 1), images(6, 2)
"""


class Listed(Dataset):
    """Samples as they stand in a list."""

    def __init__(self, *samples, classes=3):
        self.samples = samples
        self.classes = classes

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_own_data.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "my_own_data"


@pytest.fixture
def opened(monkeypatch):
    """Open what a factory gives; it stands in this very module's place."""

    def call(made, encoder="bit_plane", steps=2, name="tests_own_factory:make"):
        module = type("Module", (), {"make": staticmethod(lambda: made)})
        monkeypatch.setitem(__import__("sys").modules, "tests_own_factory", module)
        return load_data(DataConfig(name, encoder=encoder), steps)

    return call


def test_one_data_set_is_split_and_encoded(module):
    data = load_data(DataConfig(f"{module}:images", augment=("flip",)), 3)
    assert (len(data.train), len(data.test)) == (16, 4)
    assert (data.classes, data.names, data.shape) == (4, ("a", "b", "c", "d"), (24, 6, 5))
    whole = __import__(module).images()
    inputs, labels = data.arrays("test")
    expected = encode("bit_plane", whole.tensors[0][4::5], 3, levels=255)
    assert np.array_equal(inputs, expected.numpy())
    assert labels.tolist() == [0, 1, 2, 3]
    _, others = data.arrays("train")
    assert sorted([*others, *labels]) == sorted(whole.tensors[1].tolist())


def test_a_pair_is_train_and_test(module):
    data = load_data(DataConfig(f"{module}:pair", encoder="direct"), 3)
    assert (len(data.train), len(data.test)) == (10, 6)
    test = __import__(module).images(6, 2).tensors[0]
    assert torch.equal(data.test[5][0], test[5] / 255)


def test_frames_of_events(opened):
    frames = (torch.rand(7, 4, 2, 3, 3, generator=torch.Generator().manual_seed(1)) < 0.5).int()
    made = TensorDataset(frames, torch.zeros(7, dtype=torch.int64))
    made.classes = 2
    data = opened(made, "events", 4)
    assert data.domain == SPIKE and data.shape == (2, 3, 3)
    assert torch.equal(data.test[0][0], frames[4].float())


def test_arrays_and_floats_are_taken(opened):
    samples = [(np.full((1, 2, 2), k / 8, np.float64), np.int64(k % 3)) for k in range(8)]
    data = opened(Listed(*samples), "direct")
    assert data.train[6][1] == 1  # sample 7: of the first five, the fifth tests
    assert data.train[6][0].dtype == torch.float32 and float(data.train[6][0][0, 0, 0]) == 7 / 8
    assert float(data.test[0][0][0, 0, 0]) == 4 / 8


IMAGE = torch.zeros(1, 2, 2, dtype=torch.uint8)
GOOD = [(IMAGE, 0)] * 4


@pytest.mark.parametrize(
    ("made", "encoder", "message"),
    [
        (3, "bit_plane", "gives no data set"),
        ((), "bit_plane", "gives no data set"),
        ((Listed(*GOOD), 5), "bit_plane", "gives no data set"),
        (Listed(), "bit_plane", "gives no data set"),
        (Listed(*GOOD), "bit_plane", "too few samples"),
        (Listed(*GOOD, *GOOD, classes=None), "bit_plane", "does not say its classes"),
        (Listed(*GOOD, *GOOD, classes="ab"), "bit_plane", "does not say its classes"),
        (Listed(*GOOD, *GOOD, classes=1), "bit_plane", "does not say its classes"),
        (Listed(*GOOD, IMAGE), "bit_plane", "not a pair"),
        (Listed(*GOOD, ([0], 1)), "bit_plane", "not an array"),
        (Listed(*GOOD, (IMAGE[:, 1:], 1)), "bit_plane", "another shape"),
        (Listed(*GOOD, (IMAGE, 3)), "bit_plane", "none of the classes"),
        (Listed(*GOOD, (IMAGE, -1)), "bit_plane", "none of the classes"),
        (Listed(*GOOD, (IMAGE, 1.0)), "bit_plane", "none of the classes"),
        (Listed(*GOOD, (IMAGE, True)), "bit_plane", "none of the classes"),
        (Listed(*GOOD, (IMAGE, torch.tensor([0, 1]))), "bit_plane", "none of the classes"),
        (Listed(*GOOD, (IMAGE.float(), 1)), "bit_plane", "bit_plane code cannot take"),
        (Listed(*GOOD, (IMAGE.int(), 1)), "direct", "direct code cannot take"),
        (Listed(*GOOD, (IMAGE + 1.5, 1)), "direct", "out of range"),
        (Listed(*GOOD, (IMAGE * float("nan"), 1)), "direct", "out of range"),
        (Listed(*[(IMAGE[0], 1)] * 9), "direct", "wrong shape"),
        (Listed(*[(IMAGE, 1)] * 9), "events", "wrong shape"),
        (Listed(*[(torch.zeros(3, 1, 2, 2), 1)] * 9), "events", "T = 2"),
        (Listed(*[(torch.full((2, 1, 2, 2), 0.5), 1)] * 9), "events", "not binary"),
    ],
)
def test_what_is_not_as_it_should_be_is_refused(opened, made, encoder, message):
    with pytest.raises(DataError) as e:
        opened(made, encoder)
    assert message in str(e.value) and "tests_own_factory" in str(e.value)


def test_a_sample_is_checked_when_it_is_drawn(opened):
    data = opened(Listed(*GOOD, *GOOD, *GOOD, (IMAGE, 7)))
    with pytest.raises(DataError, match="sample 12"):
        data.train[10]


@pytest.mark.parametrize("name", ["no_such_module_here:make", "os:no_such_thing"])
def test_a_missing_factory(name):
    with pytest.raises(DataError, match=r"no_such"):
        load_data(DataConfig(name), 2)


def test_events_cannot_be_augmented_as_images(module):
    with pytest.raises(ConfigError, match="autoaugment"):
        DataConfig(f"{module}:images", encoder="events", augment=("autoaugment",))
