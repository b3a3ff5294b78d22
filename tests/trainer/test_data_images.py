"""Files of the real formats, made here: CIFAR's binary version, folders of JPEG and PNG."""

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from purespike.trainer.data import DataConfig, load_data
from purespike.trainer.data.imagenet import Middle, RandomPart, read_image
from purespike.trainer.errors import DataError
from purespike.trainer.nn.encoders import encode

CIFAR10_NAMES = ["airplane", "automobile", *(f"animal {i}" for i in range(7)), "truck"]


def write_cifar10(root, rows=3):
    """Return the images (N, 3, 32, 32) and labels of train and test, as written."""
    rng = np.random.default_rng(0)
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    (folder / "batches.meta.txt").write_text("\n".join(CIFAR10_NAMES) + "\n\n")
    written = []
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        images = rng.integers(0, 256, (rows, 3, 32, 32), np.uint8)
        labels = rng.integers(0, 10, rows, np.uint8)
        records = [bytes([y]) + x.tobytes() for x, y in zip(images, labels, strict=True)]
        (folder / name).write_bytes(b"".join(records))
        written.append((images, labels))
    train = [np.concatenate(part) for part in zip(*written[:5], strict=True)]
    return train, written[5]


def test_cifar10_is_read_as_it_was_written(tmp_path):
    train, test = write_cifar10(tmp_path)
    data = load_data(DataConfig("cifar10", root=str(tmp_path), encoder="direct"), 2)
    assert (data.shape, data.classes, data.names) == ((3, 32, 32), 10, tuple(CIFAR10_NAMES))
    for samples, (images, labels) in ((data.train, train), (data.test, test)):
        assert len(samples) == len(labels)
        for i in range(len(labels)):
            image, label = samples[i]
            assert np.array_equal(image.numpy() * 255, images[i]) and label == labels[i]


def test_cifar10_in_bit_planes_and_augmented(tmp_path):
    _, (images, labels) = write_cifar10(tmp_path)
    augment = ("crop:4", "flip", "autoaugment", "cutout:16")
    data = load_data(DataConfig("cifar10", root=str(tmp_path), augment=augment), 2)
    inputs, truth = data.arrays("test")
    assert data.shape == (24, 32, 32)
    expected = encode("bit_plane", torch.from_numpy(images), 2, levels=255)
    assert np.array_equal(inputs, expected.numpy()) and np.array_equal(truth, labels)
    spikes, _ = data.train[0]
    assert spikes.shape == (2, 24, 32, 32) and set(spikes.unique().tolist()) == {0.0, 1.0}
    assert (spikes == 0).flatten(0, 1).all(0).sum() >= 64  # the cutout, in a corner at least


def test_cifar100_takes_the_fine_label(tmp_path):
    rng = np.random.default_rng(1)
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    (folder / "fine_label_names.txt").write_text("".join(f"class {i}\n" for i in range(100)))
    images = rng.integers(0, 256, (4, 3072), np.uint8)
    rows = [bytes([19, fine]) + x.tobytes() for fine, x in zip((0, 99, 5, 7), images, strict=True)]
    (folder / "train.bin").write_bytes(b"".join(rows))
    (folder / "test.bin").write_bytes(b"".join(rows[:2]))
    data = load_data(DataConfig("cifar100", root=str(tmp_path), encoder="direct"), 1)
    assert data.classes == 100 and [data.train[i][1] for i in range(4)] == [0, 99, 5, 7]
    assert np.array_equal(data.train[3][0].numpy().ravel() * 255, images[3])


def refused(config, message):
    with pytest.raises(DataError) as e:
        load_data(config, 2)
    assert message in str(e.value)
    return str(e.value)


def test_missing_and_damaged_cifar(tmp_path):
    config = DataConfig("cifar10", root=str(tmp_path / "x"))
    text = refused(config, "no such folder")
    assert "cifar-10-binary.tar.gz" in text
    write_cifar10(tmp_path / "x")
    folder = tmp_path / "x" / "cifar-10-batches-bin"
    third = folder / "data_batch_3.bin"
    good = third.read_bytes()
    for bad, message in (
        (good[:-1], "cut off"),
        (b"", "cut off"),
        (b"\x0a" + good[1:], "label 10"),
        (good * 20001, "too large"),
    ):
        third.write_bytes(bad)
        assert "data_batch_3.bin" in refused(config, message)
    third.unlink()
    assert "data_batch_3.bin" in refused(config, "No such file")


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_the_pickled_version_is_refused_unopened(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
    text = refused(DataConfig("cifar10", root=str(tmp_path)), "can run any code")
    assert "cifar-10-binary.tar.gz" in text


def picture(height, width, seed=0):
    """Smooth, so that JPEG changes it by little."""
    y, x = np.mgrid[:height, :width]
    waves = [
        128 + 100 * np.sin(2 * np.pi * (y * a + x * b + seed / 5))
        for a, b in ((1 / height, 0), (0, 1 / width), (0.5 / height, 0.5 / width))
    ]
    return np.stack(waves, -1).astype(np.uint8)


@pytest.fixture
def folders(tmp_path):
    for split, count in (("train", 3), ("val", 2)):
        for label, name in enumerate(("n01440764", "n01443537")):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(picture(40 + 8 * i, 56, label + i))
                ending = "png" if i % 2 else "JPEG"
                image.save(folder / f"{name}_{i}.{ending}", quality=95)
    return tmp_path


def test_image_folders(folders):
    config = DataConfig("imagenet", root=str(folders), encoder="direct", size=16)
    data = load_data(config, 2)
    assert data.names == ("n01440764", "n01443537")
    assert len(data.train) == 6 and len(data.test) == 4 and data.shape == (3, 16, 16)
    assert [data.test[i][1] for i in range(4)] == [0, 0, 1, 1]
    # The second computation: scale the whole image, then cut the middle out.
    whole = Image.fromarray(picture(48, 56, 2))  # n01443537_1.png
    scaled = whole.resize((round(56 * 16 / 42), round(48 * 16 / 42)), Image.Resampling.BILINEAR)
    left, top = (scaled.width - 16) / 2, (scaled.height - 16) / 2
    middle = np.array(scaled)[int(top) : int(top) + 16, int(left) : int(left) + 16]
    found = data.test[3][0].permute(1, 2, 0).numpy() * 255
    assert np.abs(found - middle).mean() < 8 and found.std() > 30


def test_jpeg_grey_and_transparent_images_become_colours(tmp_path):
    plain = picture(20, 24)
    Image.fromarray(plain).save(tmp_path / "a.jpg", quality=95)
    found = read_image(tmp_path / "a.jpg").permute(1, 2, 0).numpy().astype(int)
    assert np.abs(found - plain).mean() < 4
    Image.fromarray(plain[..., 0]).save(tmp_path / "b.png")
    assert np.array_equal(read_image(tmp_path / "b.png"), np.stack([plain[..., 0]] * 3))
    clear = np.dstack([plain, np.full((20, 24), 128, np.uint8)])
    Image.fromarray(clear).save(tmp_path / "c.png")
    assert np.array_equal(read_image(tmp_path / "c.png").permute(1, 2, 0), plain)


def test_random_parts_stay_inside_and_fill_the_size():
    """Each pixel holds its own place, so that a part shows where it was cut."""
    y, x = np.mgrid[:60, :80]
    image = torch.from_numpy(np.stack([y, x, y]).astype(np.uint8))
    areas, ratios = [], []
    for seed in range(150):
        part = RandomPart(16)(image, torch.Generator().manual_seed(seed)).float()
        assert part.shape == (3, 16, 16)
        # From the first to the last pixel's centre there are 15/16 of the side.
        high, wide = (float(part[c].max() - part[c].min()) * 16 / 15 for c in (0, 1))
        areas.append(high * wide / 4800)
        ratios.append(wide / high)
        assert part[0].max() <= 59 and part[1].max() <= 79
        assert (part[0].diff(dim=0) >= 0).all() and (part[1].diff(dim=1) >= 0).all()
    assert min(areas) < 0.2 and max(areas) > 0.8 and 0.06 < min(areas) and max(areas) < 1.1
    assert 0.65 < min(ratios) < 0.85 and 1.15 < max(ratios) < 1.5
    long = torch.zeros(3, 2, 400, dtype=torch.uint8)
    assert Middle(8)(long).shape == (3, 8, 8) == RandomPart(8)(long, torch.Generator()).shape


def test_training_images_are_cut_at_random_only_when_asked(folders):
    config = DataConfig("imagenet", root=str(folders), encoder="direct", size=16)
    asked = load_data(DataConfig(**{**config.__dict__, "augment": ("crop", "flip")}), 2)
    plain = load_data(config, 2)
    assert torch.equal(plain.train[0][0], plain.train[0, 1][0])
    assert not torch.equal(asked.train[0, 0][0], asked.train[0, 1][0])
    assert torch.equal(asked.train.plain()[0, 1][0], plain.train[0][0])
    assert torch.equal(asked.test[0][0], plain.test[0][0])


def test_hostile_and_damaged_images(tmp_path):
    good = io.BytesIO()
    Image.fromarray(picture(64, 64)).save(good, "PNG")
    bomb = io.BytesIO()
    Image.new("1", (9000, 11000)).save(bomb, "PNG")
    gif = io.BytesIO()
    Image.fromarray(picture(8, 8)).save(gif, "GIF")
    assert len(bomb.getvalue()) < 100_000
    for data, message in (
        (b"", "no JPEG or PNG"),
        (b"not an image", "no JPEG or PNG"),
        (gif.getvalue(), "no JPEG or PNG"),
        (good.getvalue()[:200], "cannot be read"),
        (bomb.getvalue(), "9000 x 11000"),
    ):
        file = tmp_path / "image.png"
        file.write_bytes(data)
        with pytest.raises(DataError) as e:
            read_image(file)
        assert message in str(e.value) and "image.png" in str(e.value)


def test_folders_that_do_not_fit(folders):
    config = DataConfig("imagenet", root=str(folders), size=16)
    empty = folders / "val" / "n01440764"
    for file in empty.iterdir():
        file.unlink()
    refused(config, "holds no samples")
    empty.rmdir()
    refused(config, "two or more folders")
    (folders / "val" / "n99").mkdir()
    assert "n01440764, n99" in refused(config, "other classes")
    refused(DataConfig("imagenet", root=str(folders / "nowhere")), "no such folder")
