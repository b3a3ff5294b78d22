from functools import partial

import numpy as np
import pytest
import torch

from purespike.compiler.ir.domain import ANALOG, SPIKE
from purespike.compiler.passes.split_host import HostBoundaryError
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.trainer.capture.trace import capture
from purespike.trainer.data import (
    BatchOrder,
    DataConfig,
    SampleOrder,
    digits,
    load_data,
    loader,
    shifted,
)
from purespike.trainer.errors import ConfigError, DataError
from purespike.trainer.networks.configuration import ModelConfig, from_dict, to_dict
from purespike.trainer.networks.models import build, main_only
from purespike.trainer.nn.encoders import encode

FIRST_TEST_LABELS = [7, 6, 3, 7, 7, 3, 2, 8, 9, 3]


def test_split_is_fixed_stratified_and_complete():
    d = digits()
    assert d.train_images.shape == (1437, 1, 8, 8) and d.test_images.shape == (360, 1, 8, 8)
    assert d.train_images.dtype == torch.uint8 and int(d.train_images.max()) == 16
    counts = torch.bincount(d.test_labels)
    assert int(counts.min()) >= 35 and int(counts.max()) <= 37
    # Of this very split; another one would make accuracies incomparable.
    assert d.test_labels[:10].tolist() == FIRST_TEST_LABELS
    everything = torch.cat([d.train_images, d.test_images]).flatten(1)
    assert len(everything) == 1797
    assert int(everything.sum()) == 561718


def test_every_image_once_an_epoch_in_an_order_of_seed_and_epoch():
    order = BatchOrder(103, 10, seed=5, shuffle=True)
    assert len(order) == 11

    def epoch(number: int) -> list[int]:
        order.set_epoch(number)
        batches = list(order)
        assert [len(b.indices) for b in batches] == [10] * 10 + [3]
        assert len({b.seed for b in batches}) == 11
        return torch.cat([b.indices for b in batches]).tolist()

    first, second = epoch(0), epoch(1)
    assert sorted(first) == sorted(second) == list(range(103))
    assert first != second and epoch(0) == first
    unshuffled = BatchOrder(103, 10, seed=5, shuffle=False)
    assert torch.cat([b.indices for b in unshuffled]).tolist() == list(range(103))


def test_shifts_move_by_at_most_one_pixel():
    images = digits().train_images[:200]
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    out = shifted(images, seed=9)
    assert out.shape == images.shape and out.dtype == images.dtype
    used = set()
    for before, after in zip(padded, out, strict=True):
        moves = [
            (i, j)
            for i in range(3)
            for j in range(3)
            if torch.equal(before[:, i : i + 8, j : j + 8], after)
        ]
        assert moves
        used |= set(moves)
    assert len(used) == 9
    assert torch.equal(out, shifted(images, seed=9))


def test_loader_deals_encoded_batches():
    d = digits()
    batches = list(loader(d.test_images, d.test_labels, "bit_plane", 3, batch_size=100))
    assert [x.shape for x, _ in batches] == [(3, n, 5, 8, 8) for n in (100, 100, 100, 60)]
    assert torch.equal(torch.cat([y for _, y in batches]), d.test_labels)
    together = torch.cat([x for x, _ in batches], 1)
    assert torch.equal(together, encode("bit_plane", d.test_images, 3))


@pytest.mark.parametrize("encoder", ["bit_plane", "latency"])
def test_samples_are_those_of_the_encoder(encoder):
    data = load_data(DataConfig(encoder=encoder), 5)
    inputs, labels = data.arrays("test")
    expected = encode(encoder, digits().test_images, 5)
    assert inputs.dtype == np.uint8 and labels.dtype == np.int64
    assert np.array_equal(inputs, expected.numpy())
    assert np.array_equal(labels, digits().test_labels.numpy())
    assert (data.shape, data.classes, data.domain) == (tuple(expected.shape[2:]), 10, SPIKE)
    spikes, label = data.test[7]
    assert torch.equal(spikes, expected[:, 7]) and label == labels[7]
    assert torch.equal(data.test[np.int64(7)][0], spikes) and torch.equal(
        data.test[7, 3][0], spikes
    )


def test_direct_input_is_analog_and_one_image_at_all_steps():
    data = load_data(DataConfig(encoder="direct"), 3)
    assert not data.domain <= SPIKE and data.domain <= ANALOG
    image, _ = data.test[0]
    assert torch.equal(image, digits().test_images[0] / 16)
    batch, labels = next(iter(data.loader(data.test, batch_size=6)))
    assert batch.shape == (3, 6, 1, 8, 8) and labels.shape == (6,) and batch.stride(0) == 0
    inputs, _ = data.arrays("test", 4)
    assert inputs.dtype == np.float32 and data.domain.holds(inputs.astype(np.float64))
    assert (inputs == inputs[:1]).all() and len(np.unique(inputs)) > 2


def test_only_direct_input_needs_a_declared_host_encoder():
    for encoder in ("direct", "bit_plane"):
        data = load_data(DataConfig(encoder=encoder), 2)
        config = ModelConfig(
            data.shape[0], data.classes, steps=2, stem=4, widths=(4,), strides=(1,)
        )
        model = main_only(build(config, 0)).eval()
        graph = capture(model, data.shape, data.steps, domain=data.domain).graph
        inputs, _ = data.arrays("test", 4)
        compiled = partial(compile_graph, graph, probe=inputs.astype(np.float64))
        if encoder == "direct":
            with pytest.raises(HostBoundaryError, match="not a spike"):
                compiled(standard_pipeline())
        done = compiled(standard_pipeline(host_encoder=encoder == "direct"))
        assert any(n.role == "host" for n in done.graph.nodes) == (encoder == "direct")


def test_a_limit_is_spread_over_the_split():
    data = load_data(DataConfig(), 2)
    _, labels = data.arrays("test", 36)
    assert np.array_equal(labels, digits().test_labels.numpy()[::10])
    assert data.arrays("train", 10**9)[0].shape == (2, 1437, 5, 8, 8)


def test_training_arrays_are_not_augmented():
    augmented = load_data(DataConfig(augment=("crop:2",)), 2)
    plain = load_data(DataConfig(), 2)
    assert np.array_equal(augmented.arrays("train", 50)[0], plain.arrays("train", 50)[0])
    assert not torch.equal(augmented.train[3][0], plain.train[3][0])
    assert torch.equal(augmented.train.plain()[3][0], plain.train[3][0])


def batches(data, **options):
    dealt = data.loader(data.train.part(range(50)), batch_size=16, shuffle=True, **options)
    out = []
    for epoch in range(2):
        dealt.sampler.set_epoch(epoch)
        out += list(dealt)
    return out


def same(a, b):
    return all(
        torch.equal(x, y) for m, n in zip(a, b, strict=True) for x, y in zip(m, n, strict=True)
    )


def test_randomness_is_of_seed_epoch_and_index_only():
    data = load_data(DataConfig(encoder="rate", augment=("crop:1", "flip")), 4, seed=3)
    once = batches(data)
    assert same(once, batches(data, workers=2))
    assert same(once, batches(load_data(data.config, 4, seed=3)))
    assert not same(once, batches(load_data(data.config, 4, seed=4)))
    assert not same(once[:4], once[4:])
    # Whichever batch a sample comes in, and alone, it is the same.
    order = SampleOrder(50, shuffle=True)
    order.set_epoch(1)
    keys = list(order)
    spikes = torch.cat([x for x, _ in once[4:]], 1)
    for place in (0, 17, 49):
        assert torch.equal(spikes[:, place], data.train[keys[place]][0])
    part = data.train.part([40, 11])
    assert torch.equal(part[1, 5][0], data.train[11, 5][0])


def test_the_processes_of_a_training_share_the_samples():
    def dealt(rank: int, ranks: int) -> list[int]:
        order = SampleOrder(10, seed=1, shuffle=True, rank=rank, ranks=ranks)
        keys = list(order)
        assert len(keys) == len(order)
        return [position for position, _ in keys]

    alone = dealt(0, 1)
    assert sorted(alone) == list(range(10)) and alone != list(range(10))
    shares = [dealt(rank, 4) for rank in range(4)]
    assert [len(s) for s in shares] == [3] * 4
    together = [shares[i % 4][i // 4] for i in range(12)]
    assert together == alone + alone[:2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "mnist"}, "digits, event_digits"),
        ({"name": "os.path:"}, "package.module:factory"),
        ({"name": "a b:c"}, "package.module:factory"),
        ({"name": "cifar10"}, "the folder that holds the data"),
        ({"root": "/data"}, "does not lie in a folder"),
        ({"encoder": "events"}, "bit_plane, rate, latency, direct for digits"),
        ({"encoder": "morse"}, "bit_plane, rate, latency, direct for digits"),
        ({"name": "event_digits", "encoder": "rate"}, "events for event_digits"),
        ({"size": 32}, "a size of its own"),
        ({"name": "imagenet", "root": "/data", "size": 7}, "8 to 1024"),
        ({"name": "imagenet", "root": "/data", "size": True}, "8 to 1024"),
        ({"name": "imagenet", "root": "/data", "size": "64"}, "8 to 1024"),
        ({"root": 3}, "a text"),
        ({"augment": "flip"}, "a tuple of texts"),
        ({"augment": (4,)}, "a tuple of texts"),
        ({"bins": "time"}, "an event camera only"),
        ({"name": "event_digits", "bins": "events"}, "time or count"),
        ({"download": True}, "only dvs_gesture, cifar10_dvs can be fetched"),
        ({"augment": ("mixup",)}, "flip, crop, cutout, autoaugment for digits"),
        ({"augment": ("roll",)}, "flip, crop, cutout, autoaugment for digits"),
        ({"augment": ("crop:",)}, "crop:1 to crop:1024"),
        ({"augment": ("crop:0",)}, "crop:1 to crop:1024"),
        ({"augment": ("crop:-1",)}, "crop:1 to crop:1024"),
        ({"augment": ("flip:2",)}, "flip without a number"),
        ({"augment": ("autoaugment",)}, "the digits have 17"),
        ({"name": "event_digits", "augment": ("autoaugment",)}, "temporal_delete for event_digits"),
        ({"name": "dvs_gesture", "root": "/d", "augment": ("flip",)}, "into one of the left"),
        ({"name": "imagenet", "root": "/d", "augment": ("crop:4",)}, "crop without a number"),
    ],
)
def test_a_wrong_description_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        DataConfig(**change)


def test_a_description_goes_to_json_and_back():
    config = DataConfig("imagenet", root="/data", augment=("crop", "flip"), size=64)
    assert from_dict(DataConfig, to_dict(config)) == config


def test_wrong_steps_and_splits():
    for steps in (0, True, 2.0):
        with pytest.raises(ConfigError, match="at least 1"):
            load_data(DataConfig(), steps)
    with pytest.raises(ConfigError, match="at least 0"):
        load_data(DataConfig(), 2, seed=-1)
    with pytest.raises(ConfigError, match="frames to keep"):
        load_data(DataConfig("event_digits", augment=("temporal_delete:5",)), 4)
    data = load_data(DataConfig(), 2)
    for split, limit in (("validation", 3), ("test", 0)):
        with pytest.raises(ConfigError, match="train or test"):
            data.arrays(split, limit)


def test_arrays_that_would_fill_the_memory_are_refused():
    data = load_data(DataConfig(), 1_000_000)
    with pytest.raises(DataError, match="4 GiB"):
        data.arrays("test")
