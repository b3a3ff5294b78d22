import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torch import Generator

from purespike.trainer.data.augment import (
    AUGMENTATIONS,
    augmentation,
    crop,
    cutout,
    flip,
    roll,
    temporal_delete,
)
from purespike.trainer.data.autoaugment import OPERATIONS, POLICY, autoaugment
from purespike.trainer.errors import DataError

SEEDS = range(60)


def image(channels=3, side=12, seed=0):
    generator = Generator().manual_seed(seed)
    return torch.randint(1, 256, (channels, side, side), generator=generator).to(torch.uint8)


def frames(steps=16, side=9):
    return (torch.rand(steps, 2, side, side, generator=Generator().manual_seed(1)) < 0.3).float()


def outcomes(function, sample, number=0):
    return [function(sample, Generator().manual_seed(seed), number) for seed in SEEDS]


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentation_is_a_function_of_sample_and_generator(name):
    chosen = AUGMENTATIONS[name]
    samples = [image(), image(1)] if chosen.images else []
    samples += [frames()] if chosen.events else []
    change = augmentation(f"{name}:4" if chosen.default else name)
    for sample in samples:
        kept = sample.clone()
        once = [change(sample, Generator().manual_seed(s)) for s in SEEDS]
        again = [change(sample, Generator().manual_seed(s)) for s in SEEDS]
        assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
        assert len({a.numpy().tobytes() for a in once}) > 1
        assert torch.equal(sample, kept)
        assert {a.dtype for a in once} == {sample.dtype}
        if name != "temporal_delete":
            assert {a.shape for a in once} == {sample.shape}
        if sample.dim() == 4:
            assert all(set(a.unique().tolist()) <= {0.0, 1.0} for a in once)


def test_defaults_are_those_of_the_papers():
    defaults = {name: a.default for name, a in AUGMENTATIONS.items() if a.default}
    assert defaults == {"crop": 4, "cutout": 16, "roll": 5, "temporal_delete": 12}
    assert augmentation("crop").number == 4 and augmentation("crop:2").number == 2


@pytest.mark.parametrize("sample", [image(), frames()])
def test_flip_mirrors_half_of_the_samples(sample):
    mirrored = sample.numpy()[..., ::-1]
    kinds = [np.array_equal(a.numpy(), mirrored) for a in outcomes(flip, sample)]
    unchanged = [torch.equal(a, sample) for a in outcomes(flip, sample)]
    assert all(a != b for a, b in zip(kinds, unchanged, strict=True))
    assert 15 < sum(kinds) < 45


@pytest.mark.parametrize("sample", [image(side=7), frames(4, 7)])
def test_crop_reaches_every_place_with_black_moving_in(sample):
    padded = np.pad(sample.numpy(), [(0, 0)] * (sample.dim() - 2) + [(1, 1), (1, 1)])
    places = {
        padded[..., i : i + 7, j : j + 7].tobytes(): (i, j) for i in range(3) for j in range(3)
    }
    seen = {places[a.contiguous().numpy().tobytes()] for a in outcomes(crop, sample, 1)}
    assert len(seen) == 9


def test_cutout_blackens_one_square_that_may_reach_over_the_border():
    sample = image(side=12)
    sizes = set()
    for out in outcomes(cutout, sample, 5):
        black = (out == 0).all(0)
        assert torch.equal(out[:, ~black], sample[:, ~black])
        rows, columns = black.any(1).nonzero().flatten(), black.any(0).nonzero().flatten()
        high, wide = (int(i[-1] - i[0]) + 1 for i in (rows, columns))
        assert black.sum() == high * wide and 3 <= min(high, wide) <= max(high, wide) <= 5
        # A square smaller than its side touches the border.
        assert high == 5 or rows[0] == 0 or rows[-1] == 11
        assert wide == 5 or columns[0] == 0 or columns[-1] == 11
        sizes.add((high, wide))
    assert (5, 5) in sizes and len(sizes) > 2


def test_roll_moves_whole_recordings_round_the_border():
    sample = frames()
    places = {
        np.roll(sample.numpy(), (i, j), (2, 3)).tobytes(): (i, j)
        for i in range(-2, 3)
        for j in range(-2, 3)
    }
    seen = {places[a.contiguous().numpy().tobytes()] for a in outcomes(roll, sample, 2)}
    assert len(seen) > 15 and {abs(i) for i, _ in seen} == {0, 1, 2} == {abs(j) for _, j in seen}


def test_temporal_delete_keeps_frames_in_their_order():
    sample = torch.arange(16.0).view(16, 1, 1, 1)
    kept = [a.flatten().tolist() for a in outcomes(temporal_delete, sample, 12)]
    assert all(len(k) == 12 and k == sorted(set(k)) for k in kept)
    assert {i for k in kept for i in set(range(16)) - set(map(int, k))} == set(range(16))
    assert torch.equal(temporal_delete(sample, Generator(), 16), sample)


def test_the_policy_is_of_known_parts():
    assert len(POLICY) == 25
    for name, tenths, strength in (part for parts in POLICY for part in parts):
        assert name in OPERATIONS and 0 <= tenths <= 9 and 0 <= strength <= 9
    # Counted in the published table: colours and contrast make up most of it.
    names = [part[0] for parts in POLICY for part in parts]
    assert names.count("equalize") == 9 and names.count("autocontrast") == 7
    assert names.count("shear_x") == 0 and names.count("translate_y") == 5


@pytest.mark.parametrize(
    ("name", "strength", "value"),
    [
        ("shear_y", 9, 0.3),
        ("translate_x", 9, 150 / 331),
        ("rotate", 3, 10.0),
        ("color", 9, 0.9),
        ("posterize", 0, 8.0),
        ("posterize", 9, 4.0),
        ("solarize", 9, 0.0),
        ("solarize", 0, 255.0),
    ],
)
def test_strengths_mean_what_the_paper_says(name, strength, value):
    assert OPERATIONS[name].value(strength) == pytest.approx(value)


def applied(name, sample, value):
    picture = Image.fromarray(sample.permute(1, 2, 0).contiguous().numpy())
    out = OPERATIONS[name].function(picture, value)
    return torch.from_numpy(np.array(out)).permute(2, 0, 1)


def test_operations_against_a_second_computation():
    sample = image(side=32, seed=4)
    numbers = sample.long()
    assert torch.equal(applied("invert", sample, 0).long(), 255 - numbers)
    assert torch.equal(applied("posterize", sample, 5.1).long(), numbers // 8 * 8)
    solarized = torch.where(numbers < 100, numbers, 255 - numbers)
    assert torch.equal(applied("solarize", sample, 100.0).long(), solarized)
    for share in (0.25, -0.25):
        moved = applied("translate_x", sample, share)
        expected = torch.zeros_like(sample)
        if share > 0:
            expected[:, :, :24] = sample[:, :, 8:]
        else:
            expected[:, :, 8:] = sample[:, :, :24]
        assert torch.equal(moved, expected)
        assert torch.equal(
            applied("translate_y", sample.mT.contiguous(), share), expected.mT.contiguous()
        )
    assert torch.equal(applied("brightness", sample, -0.5).long(), numbers // 2)
    luma = np.array(ImageOps.grayscale(Image.fromarray(sample.permute(1, 2, 0).numpy())))
    assert torch.equal(applied("color", sample, -1.0)[1], torch.from_numpy(luma))
    assert torch.equal(applied("shear_x", sample, 0.0), sample)
    sheared = applied("shear_x", sample, 0.25)  # row y takes from x + y/4, at pixel centres
    for row in (0, 9, 31):
        start = int((row + 0.5) * 0.25 + 0.5)
        assert torch.equal(sheared[:, row, : 32 - start], sample[:, row, start:])
    assert applied("autocontrast", sample // 2 + 20, 0).flatten(1).min(1).values.tolist() == [0] * 3
    assert torch.equal(applied("rotate", sample, 0.0), sample)


def test_every_part_of_the_policy_is_applied_as_often_as_it_says():
    """Over many draws each sub-policy comes up, and unchanged images as rarely as computed."""
    sample = image(side=16, seed=2)
    n = 700
    out = [autoaugment(sample, Generator().manual_seed(seed)) for seed in range(n)]
    unchanged = sum(torch.equal(o, sample) for o in out) / n
    # The parts that do nothing at these strengths (color 0) count as not applied.
    idle = [
        np.prod([1 if p[0] == "color" and p[2] == 0 else 1 - p[1] / 10 for p in parts])
        for parts in POLICY
    ]
    expected = float(np.mean(idle))
    assert abs(unchanged - expected) < 5 * (expected * (1 - expected) / n) ** 0.5 + 0.01
    assert len({o.numpy().tobytes() for o in out}) > 40


def test_autoaugment_takes_grey_and_coloured_images_only():
    for sample in (image(2), image(3).float() / 255):
        with pytest.raises(DataError, match="grey or coloured"):
            autoaugment(sample, Generator())
