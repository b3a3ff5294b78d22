"""Recordings in the files that tonic reads, made here, and tonic's own code."""

import hashlib
import http.server
import io
import struct
import tarfile
import threading

import flatbuffers
import numpy as np
import pytest
import torch

from purespike.trainer.data import DataConfig, load_data
from purespike.trainer.data.events import EVENT, to_frames
from purespike.trainer.errors import DataError

tonic = pytest.importorskip("tonic")
from purespike.trainer.data import dvs  # noqa: E402


def stream(n, side, seed=0, span=1000):
    rng = np.random.default_rng(seed)
    events = np.empty(n, EVENT)
    for name, high in (("x", side), ("y", side), ("p", 2)):
        events[name] = rng.integers(0, high, n)
    events["t"] = np.sort(rng.integers(0, span, n))
    return events


def test_frames_are_those_of_tonic_with_several_events_counted_once():
    events = stream(3 * 96, side=6)
    theirs = tonic.transforms.ToFrame(sensor_size=(6, 6, 2), n_event_bins=8)(events)
    assert theirs.max() > 1
    ours = to_frames(events, 8, sensor=(6, 6), bins="count")
    assert np.array_equal(ours.numpy(), np.minimum(theirs, 1))


def aedat4(path, events):
    """Write events (t, x, y, p) as the AEDAT 4 specification says, uncompressed."""
    builder = flatbuffers.Builder(0)
    info = builder.CreateString(
        '<dv version="2.0"><node name="outInfo" path="/mainloop/Recorder/outInfo/">'
        '<node name="0" path="/mainloop/Recorder/outInfo/0/">'
        '<attr key="compression" type="string">NONE</attr>'
        '<attr key="typeIdentifier" type="string">EVTS</attr>'
        '<node name="info" path="/mainloop/Recorder/outInfo/0/info/">'
        '<attr key="sizeX" type="int">128</attr><attr key="sizeY" type="int">128</attr>'
        "</node></node></node></dv>"
    )
    builder.StartObject(3)
    builder.PrependInt32Slot(0, 0, 0)
    builder.PrependInt64Slot(1, -1, 0)
    builder.PrependUOffsetTRelativeSlot(2, info, 0)
    builder.FinishSizePrefixed(builder.EndObject(), b"IOHE")
    header = b"#!AER-DAT4.0\r\n" + bytes(builder.Output())
    builder = flatbuffers.Builder(0)
    builder.StartVector(16, len(events), 8)
    for t, x, y, p in reversed(events):
        builder.Prep(8, 16)
        builder.Pad(3)
        builder.PrependBool(bool(p))
        builder.PrependInt16(y)
        builder.PrependInt16(x)
        builder.PrependInt64(t)
    vector = builder.EndVector()
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, vector, 0)
    builder.FinishSizePrefixed(builder.EndObject(), b"EVTS")
    packet = bytes(builder.Output())
    path.write_bytes(header + struct.pack("<ii", 0, len(packet)) + packet)


def recording(seed, n=40):
    events = stream(n, side=128, seed=seed)
    return [tuple(int(e[k]) for k in ("t", "x", "y", "p")) for e in events]


def frames_of(rows, steps, size):
    """A second computation, from rows (t, x, y, p)."""
    out = np.zeros((steps, 2, size, size))
    for i, (_, x, y, p) in enumerate(rows):
        out[i * steps // len(rows), p, y * size // 128, x * size // 128] = 1
    return out


@pytest.fixture
def cifar10_dvs(tmp_path):
    for label, name in enumerate(sorted(tonic.datasets.CIFAR10DVS.classes)):
        folder = tmp_path / "CIFAR10DVS" / name
        folder.mkdir(parents=True)
        for i in range(11):
            aedat4(folder / f"cifar10_{name}_{i}.aedat4", recording(100 * label + i))
    return tmp_path


def test_cifar10_dvs(cifar10_dvs):
    data = load_data(DataConfig("cifar10_dvs", root=str(cifar10_dvs), size=32), 4)
    assert data.names[:2] == ("airplane", "automobile") and data.shape == (2, 32, 32)
    # The first nine tenths of each class train, by number: 10 comes after 9, not after 1.
    assert (len(data.train), len(data.test)) == (90, 20)
    assert [data.test[i][1] for i in range(20)] == [k // 2 for k in range(20)]
    for samples, position, seed in ((data.train, 8, 8), (data.train, 9, 100), (data.test, 3, 110)):
        expected = frames_of(recording(seed), 4, 32)
        assert np.array_equal(samples[position][0].numpy(), expected)


@pytest.fixture
def gestures(tmp_path):
    for part, users in (("Train", (1, 10)), ("Test", (24,))):
        for user in users:
            folder = tmp_path / "DVSGesture" / f"ibmGesture{part}" / f"user{user:02d}_fluorescent"
            folder.mkdir(parents=True)
            for label in range(11):
                rows = np.array(recording(100 * user + label), float)
                np.save(folder / f"{label}.npy", rows[:, [1, 2, 3, 0]])
    return tmp_path


def test_dvs_gesture(gestures):
    data = load_data(DataConfig("dvs_gesture", root=str(gestures), augment=("roll",)), 16)
    assert data.classes == 11 and data.names[0] == "Hand clapping" and data.shape == (2, 128, 128)
    assert (len(data.train), len(data.test)) == (22, 11)
    assert [data.test[i][1] for i in range(11)] == list(range(11))
    for label in (0, 9, 10):
        expected = frames_of(recording(2400 + label), 16, 128)
        assert np.array_equal(data.test[label][0].numpy(), expected)
    inputs, _ = data.arrays("train", 3)
    assert np.array_equal(inputs[:, 0], frames_of(recording(100), 16, 128))
    batch, labels = next(iter(data.loader(data.train, batch_size=5, workers=2)))
    assert batch.shape == (16, 5, 2, 128, 128) and labels.tolist() == list(range(5))


@pytest.mark.parametrize("name", ["dvs_gesture", "cifar10_dvs"])
def test_nothing_is_fetched_unasked(name, tmp_path, monkeypatch):
    def reached(*args, **kwargs):
        pytest.fail("the network was used")

    monkeypatch.setattr("urllib.request.urlopen", reached)
    with pytest.raises(DataError, match="download = true"):
        load_data(DataConfig(name, root=str(tmp_path)), 4)
    assert list(tmp_path.iterdir()) == []


def test_damaged_recordings(gestures, cifar10_dvs):
    data = load_data(DataConfig("dvs_gesture", root=str(gestures)), 4)
    folder = gestures / "DVSGesture" / "ibmGestureTest" / "user24_fluorescent"
    (folder / "3.npy").write_bytes((folder / "3.npy").read_bytes()[:150])
    np.save(folder / "4.npy", np.array([{"a": 1}], object), allow_pickle=True)
    np.save(folder / "5.npy", np.array([[128.0, 0, 0, 5]]))
    for label, message in ((3, "cannot be read"), (4, "allow_pickle"), (5, "x=128")):
        with pytest.raises(DataError, match=message) as e:
            data.test[label]
        assert f"{label}.npy" in str(e.value)
    images = load_data(DataConfig("cifar10_dvs", root=str(cifar10_dvs)), 4)
    file = cifar10_dvs / "CIFAR10DVS" / "bird" / "cifar10_bird_2.aedat4"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(DataError, match="cifar10_bird_2"):
        images.train[20]


def test_tonic_fetches_when_asked(gestures, tmp_path, monkeypatch):
    """From a server of our own: tonic's code fetches, checks the hash and unpacks."""
    archives = {}
    for part in ("Train", "Test"):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz") as tar:
            folder = gestures / "DVSGesture" / f"ibmGesture{part}"
            tar.add(folder, folder.name)
        archives[f"/{part}"] = data.getvalue()
        monkeypatch.setattr(
            dvs.DVSGesture, f"{part.lower()}_md5", hashlib.md5(data.getvalue()).hexdigest()
        )

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = archives[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for part in archives:
            url = f"http://127.0.0.1:{server.server_port}{part}"
            monkeypatch.setattr(dvs.DVSGesture, f"{part[1:].lower()}_url", url)
        root = tmp_path / "fetched"
        fetched = load_data(DataConfig("dvs_gesture", root=str(root), download=True), 4)
        server.shutdown()
    here = load_data(DataConfig("dvs_gesture", root=str(gestures)), 4)
    assert torch.equal(fetched.train[13][0], here.train[13][0]) and len(fetched.train) == 22
