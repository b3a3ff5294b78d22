#!/usr/bin/env bash
# tonic_toframe.sh: frames of events that count negatively, and lose the last event.
#
# Versions:  tonic 1.7.0
# Behaviour: ToFrame counts in 16 bits: 40,001 events of one pixel in one frame are -25,536. With n_time_bins the
#            last events of a recording are dropped, and include_incomplete=True, made for that, does nothing
#            there (it does with time_window and event_count).
# Expected:  40,001, and every event in some frame.
# Why it matters: negative "spike counts" out of a busy pixel or a long frame train and convert without an
#            error; counts of events differ from those of the recording.
#
# Exit status: 0 if seen again, 1 if it has changed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q tonic==1.7.0
cd "$work"
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import numpy as np
from tonic.transforms import ToFrame

EVENT = np.dtype([("x", "<i2"), ("y", "<i2"), ("t", "<i8"), ("p", "?")])


def events(n):
    made = np.zeros(n, EVENT)
    made["t"] = np.arange(n) * 10
    return made


def frames(n, **options):
    return ToFrame(sensor_size=(1, 1, 2), **options)(events(n))


seen = {"one frame": int(frames(40001, n_time_bins=1)[0, 0, 0, 0])}
print(f"40,001 events in one frame: {seen['one frame']}")
for options in ({"n_time_bins": 3}, {"time_window": 40}, {"event_count": 4}):
    for whole in (False, True):
        (name,) = options
        seen[name, whole] = int(frames(10, include_incomplete=whole, **options).sum())
        print(f"{name}, include_incomplete={whole}: {seen[name, whole]} of 10 events")
wanted = {
    "one frame": -25536,
    ("n_time_bins", False): 9,
    ("n_time_bins", True): 9,
    ("time_window", False): 8,
    ("time_window", True): 10,
    ("event_count", False): 8,
    ("event_count", True): 10,
}
sys.exit("changed: see the header for what was seen before" if seen != wanted else 0)
PY
