import pytest
import torch

from purespike.trainer.data import BatchOrder, digits, loader, shifted
from purespike.trainer.encoders import ENCODERS, bit_plane, encode, latency, rate
from purespike.trainer.errors import ConfigError, ShapeError

ALL_LEVELS = torch.arange(17, dtype=torch.uint8).view(1, 1, 1, 17)


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


@pytest.mark.parametrize("name", ENCODERS)
def test_codes_are_binary_and_of_the_stated_shape(name):
    images = digits().test_images[:7]
    out = encode(name, images, 6, seed=3)
    assert out.shape == (6, 7, ENCODERS[name].channels, 8, 8)
    assert out.dtype == torch.float32
    assert set(out.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(out, encode(name, images, 6, seed=3))
    assert torch.equal(out, encode(name, images, 6, seed=4)) == ENCODERS[name].deterministic


def test_bit_planes_give_the_level_back():
    planes = bit_plane(ALL_LEVELS, 4)
    weights = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]).view(1, 1, 5, 1, 1)
    levels = (planes * weights).sum(2)
    assert torch.equal(levels, ALL_LEVELS[:, 0].float().expand(4, 1, 1, 17))


def test_rate_has_the_stated_mean():
    out = rate(ALL_LEVELS, 4000, 1).mean(0).flatten()
    expected = torch.arange(17) / 16
    assert (out - expected).abs().max() < 5 * 0.5 / 4000**0.5
    assert out[0] == 0 and out[16] == 1


@pytest.mark.parametrize("steps", [1, 4, 5, 16, 20])
def test_latency_fires_once_and_bright_first(steps):
    out = latency(ALL_LEVELS, steps).view(steps, 17)
    assert out.sum(0).tolist() == [0.0] + [1.0] * 16
    when = out[:, 1:].argmax(0).tolist()
    assert when == [(16 - level) * steps // 16 for level in range(1, 17)]
    assert when[-1] == 0


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 1, 8, 8),
        torch.zeros(2, 8, 8, dtype=torch.uint8),
        torch.full((2, 1, 8, 8), 17, dtype=torch.uint8),
    ],
)
def test_other_images_are_refused(images):
    with pytest.raises(ShapeError, match="whole levels"):
        encode("bit_plane", images, 4)


def test_unknown_encoder():
    with pytest.raises(ConfigError, match="bit_plane, rate, latency"):
        encode("morse", ALL_LEVELS, 4)


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
