"""Event frames and the simulated camera."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from purespike.compiler.ir.domain import SPIKE
from purespike.trainer.data import DataConfig, digits, load_data
from purespike.trainer.data.camera import DARK, Camera, watch
from purespike.trainer.data.events import EVENT, to_frames
from purespike.trainer.errors import DataError
from purespike.trainer.nn.encoders import LEVELS


def stream(n, side=16, seed=0, span=1000):
    rng = np.random.default_rng(seed)
    events = np.empty(n, EVENT)
    for name, high in (("x", side), ("y", side), ("p", 2)):
        events[name] = rng.integers(0, high, n)
    events["t"] = np.sort(rng.integers(0, span, n))
    return events


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 200),
    st.integers(1, 12),
    st.sampled_from(["time", "count"]),
    st.sampled_from([(16, 16), (5, 7), (1, 1)]),
)
def test_frames_against_a_loop_over_the_events(n, steps, bins, size):
    events = stream(n, seed=n)
    found = to_frames(events, steps, sensor=(16, 16), size=size, bins=bins)
    expected = np.zeros((steps, 2, *size))
    for i, (x, y, p, t) in enumerate(events.tolist()):
        first, last = int(events["t"][0]), int(events["t"][-1])
        frame = i * steps // n if bins == "count" else (t - first) * steps // (last + 1 - first)
        expected[frame, int(p), y * size[0] // 16, x * size[1] // 16] = 1
    assert np.array_equal(found.numpy(), expected)


def test_a_span_leaves_events_outside_out():
    events = stream(500, span=1000)
    inside = events[(events["t"] >= 100) & (events["t"] < 400)]
    whole = to_frames(events, 3, sensor=(16, 16), bins="time", span=(100, 400))
    for k in range(3):
        third = inside[(inside["t"] - 100) // 100 == k]
        alone = to_frames(third, 1, sensor=(16, 16), bins="count")
        assert torch.equal(whole[k], alone[0])


@pytest.mark.parametrize(("name", "value"), [("x", 16), ("x", -1), ("y", 16)])
def test_events_outside_the_sensor_are_refused(name, value):
    events = stream(10)
    events[name][4] = value
    with pytest.raises(DataError, match="event 4"):
        to_frames(events, 2, sensor=(16, 16), where="file")


def test_time_that_runs_backwards_is_refused():
    events = stream(10)
    events["t"][6] = -5
    with pytest.raises(DataError, match="event 6"):
        to_frames(events, 2, sensor=(16, 16))


# Of these very recordings; others would make accuracies incomparable.
EVENTS = 1994948
FIRST_EVENTS = [(6, 3, True), (7, 3, True), (8, 3, True), (5, 3, True)]
QUIET = Camera(mismatch=0.0, noise=0.0)


def slow_watch(image, camera):
    """One pixel after the other, one contrast step after the other: the model as it is defined."""
    digit = image.numpy().astype(float) / 16
    corners = [(1.0, -1.0), (-1.0, 0.0), (1.0, 1.0), (1.0, -1.0)]

    def light(time, y, x):
        leg = min(int(time * 3), 2)
        part = time * 3 - leg
        down, right = (
            camera.reach * (a * (1 - part) + b * part)
            for a, b in zip(corners[leg], corners[leg + 1], strict=True)
        )
        v = (y + 0.5 - camera.side / 2 - down) / camera.zoom + 3.5
        u = (x + 0.5 - camera.side / 2 - right) / camera.zoom + 3.5
        total = 0.0
        for i in range(8):
            for j in range(8):
                total += max(0, 1 - abs(v - i)) * max(0, 1 - abs(u - j)) * digit[i, j]
        return np.log(DARK + total)

    out = []
    for y in range(camera.side):
        for x in range(camera.side):
            # Black again, a pixel is whole steps away but for rounding, which must not decide.
            memory = light(0.0, y, x)
            for moment in range(1, camera.moments + 1):
                now = light(moment / camera.moments, y, x)
                while abs(now - memory) >= camera.contrast * (1 - 1e-9):
                    sign = 1 if now > memory else -1
                    memory += sign * camera.contrast
                    out.append((moment - 1, y, x, sign > 0))
    return sorted(out)


def test_the_camera_against_a_slow_one():
    camera = Camera(mismatch=0.0, noise=0.0, moments=6, contrast=0.41)
    images = digits().test_images[:1]
    for image, events in zip(images, watch(images, camera, LEVELS), strict=True):
        moments = events["t"] * camera.moments // camera.duration
        found = zip(moments, events["y"], events["x"], events["p"], strict=True)
        assert sorted((int(m), int(y), int(x), bool(p)) for m, y, x, p in found) == slow_watch(
            image[0], camera
        )
        assert (np.diff(events["t"]) >= 0).all() and len(events) > 300


def test_events_lie_in_time_where_the_light_crosses_the_step():
    """Many moments give nearly the times that the interpolation between few moments says."""
    coarse, fine = (
        watch(digits().test_images[:1], Camera(mismatch=0, noise=0, moments=m), LEVELS)[0]
        for m in (60, 2400)
    )
    assert abs(len(coarse) - len(fine)) < 0.02 * len(fine)
    both = to_frames(coarse, 10, sensor=(16, 16)), to_frames(fine, 10, sensor=(16, 16))
    assert (both[0] != both[1]).float().mean() < 0.015  # of 14 % that are spikes


def test_a_camera_at_rest_and_a_black_scene_send_nothing():
    images = digits().test_images[:2]
    still = Camera(mismatch=0.0, noise=0.0, reach=0.0)
    assert [len(e) for e in watch(images, still, LEVELS)] == [0, 0]
    assert [len(e) for e in watch(torch.zeros_like(images), QUIET, LEVELS)] == [0, 0]
    lone = watch(torch.zeros_like(images), Camera(noise=0.5), LEVELS)
    assert all(80 < len(e) < 176 for e in lone)  # 256 pixels, half of them once


def test_event_digits():
    data = load_data(DataConfig("event_digits"), 10)
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert (data.shape, data.classes, data.domain) == ((2, 16, 16), 10, SPIKE)
    inputs, labels = data.arrays("test", 40)
    assert inputs.shape == (10, 40, 2, 16, 16) and set(np.unique(inputs)) == {0, 1}
    assert np.array_equal(labels, digits().test_labels.numpy()[::9])
    # Some hundred spikes a sample, both polarities alike, at every step.
    assert 0.10 < inputs.mean() < 0.18
    assert abs(inputs[:, :, 0].mean() - inputs[:, :, 1].mean()) < 0.02
    assert inputs.mean((1, 2, 3, 4)).min() > 0.05
    streams = (*data.train.source.streams, *data.test.source.streams)
    # The same for everybody; another processor may round a logarithm differently.
    assert abs(sum(len(e) for e in streams) - EVENTS) <= 3
    assert streams[0][["x", "y", "p"]][:4].tolist() == FIRST_EVENTS


def test_temporal_delete_trains_on_fewer_steps():
    data = load_data(DataConfig("event_digits", augment=("roll:1", "temporal_delete:6")), 8)
    batch, _ = next(iter(data.loader(data.train, batch_size=3)))
    assert batch.shape == (6, 3, 2, 16, 16)
    assert data.test[0][0].shape == (8, 2, 16, 16) == data.train.plain()[0][0].shape


def test_equal_counts():
    data = load_data(DataConfig("event_digits", bins="count"), 6)
    events = data.test.source.streams[3]
    assert torch.equal(data.test[3][0], to_frames(events, 6, sensor=(16, 16), bins="count"))
