"""Replay the golden vectors of a bundle with numpy alone: what the chip must do, as a program.

``python replay.py [FOLDER] [SAMPLES]`` reads golden_network.json (layers), golden_network.npz
(their whole numbers), golden.npz (inputs, spikes, membranes). Spikes are 0 or 1, currents count in
units of a weight, membranes and thresholds in 2**-fraction_bits of a weight (64ths on Loihi).
A neuron's synaptic current u <- current_decay * u + x keeps nothing where that decay is 0.
At step t a layer sees what the layers before it made at step t; states start at rest for each
sample. Shares no code with purespike's other executors; a copy lies in every bundle.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Numbers = Mapping[str, Ints]
BATCH, ROOM = 16, 1 << 29  # samples at a time, fewer where their recordings take more bytes


@dataclass(frozen=True)
class Row:
    """One recorded layer: values compared, how many differ, and the first that does."""

    layer: str
    what: str  # "spikes" or "membranes"
    values: int
    different: int
    first: tuple[int, ...] | None = None  # (step, sample, *index)
    found: int = 0
    expected: int = 0
    samples: int = field(default=0, compare=False)

    def joined(self, later: Row) -> Row:
        """With the row of the samples that follow; the first difference is the first in time."""
        other = self.first is None or (later.first is not None and later.first < self.first)
        first = later if other else self
        sums = {k: getattr(self, k) + getattr(later, k) for k in ("values", "different", "samples")}
        return replace(first, **sums)

    def __str__(self) -> str:
        step, sample, *index = self.first or (0, 0)
        text = f"{self.layer}: {self.different} of {self.values} {self.what} differ"
        first = f", first at step {step}, sample {sample}, index {tuple(index)}: "
        return text + f"{first}{self.found}, golden {self.expected}" * bool(self.first)


def conv2d(x: Ints, w: Ints, stride: list[int], padding: list[int], dilation: list[int]) -> Ints:
    """Cross-correlation (B, C, H, W) with (out, C / groups, kH, kW): one sum for each tap."""
    (dh, dw), (sh, sw) = dilation, stride
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    out, inner, kh, kw = w.shape
    height = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    width = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    x = x.reshape(len(x), -1, inner, *x.shape[2:])  # (B, groups, C / groups, H, W)
    w = w.reshape(x.shape[1], -1, inner, kh, kw)
    y = np.zeros((*x.shape[:2], w.shape[1], height, width), np.int64)
    for i in range(kh):
        for j in range(kw):
            tap = x[..., i * dh :: sh, j * dw :: sw][..., :height, :width]
            y += np.einsum("goc,bgchw->bgohw", w[..., i, j], tap)
    return y.reshape(len(x), out, height, width)


def faded(node: dict[str, Any], x: Ints, decay: str) -> Ints:
    """What a step leaves of a state: x * decay / 2**decay_bits, rounded towards zero."""
    left: Ints = np.sign(x) * ((np.abs(x) * node.get(decay, 0)) >> node["decay_bits"])
    return left


def neuron(node: dict[str, Any], numbers: Numbers, v: Ints, u: Ints) -> tuple[Ints, Ints]:
    """One step: v <- decay * v + u, saturated; fires at v >= threshold; reset.

    Returns the membrane after the reset, and the spikes (an integrator sends its membrane).
    """
    v = np.clip(faded(node, v, "decay") + u, -node["limit"], node["limit"])
    if node["reset"] == "none":
        return v, v
    s = (v >= numbers[node["threshold"]]).astype(np.int64)
    if node["reset"] == "zero":
        return np.where(s == 1, 0, v), s
    return v - s * numbers[node["amount"]], s


def layer(node: dict[str, Any], numbers: Numbers, x: Ints, *others: Ints) -> Ints:
    """What a node without a state makes of its inputs."""
    if (op := node["op"]) == "add":
        return sum(others, start=x)
    if op == "flatten":
        return x.reshape(len(x), -1)
    w = numbers[node["weight"]]
    if op == "scale":
        return x * w
    bias = numbers[node["bias"]] if node["bias"] else np.zeros(len(w), np.int64)
    if op == "linear":
        return x @ w.T + bias
    return conv2d(x, w, node["stride"], node["padding"], node["dilation"]) + bias[:, None, None]


def late(node: dict[str, Any], numbers: Numbers, line: list[Ints]) -> Ints:
    """What comes out of a delay, of the last inputs, oldest first: each place has its own wait."""
    if not (each := node.get("each")):
        return line[0]
    wait = np.broadcast_to(len(line) - numbers[each], line[0].shape)
    out: Ints = np.take_along_axis(np.stack(line), wait[None], axis=0)[0]
    return out


def replay(folder: Path, samples: int | None = None) -> list[Row]:
    """Compute every layer of the golden samples and compare: one row per recording, all of them."""
    network = json.loads((folder / "golden_network.json").read_text(encoding="utf-8"))
    with np.load(folder / "golden_network.npz", allow_pickle=False) as file:
        numbers = {name: file[name].astype(np.int64) for name in file.files}
    with np.load(folder / "golden.npz", allow_pickle=False) as file:
        golden = {name: file[name][:, :samples] for name in file.files if name != "labels"}
    x = golden.pop("inputs")
    rows: dict[str, Row] = {}
    held = 1 + 24 * sum(a[:, :1].size for k, a in golden.items() if k.startswith("membranes/"))
    for start in range(0, x.shape[1], batch := max(1, min(BATCH, ROOM // held))):
        part = slice(start, start + batch)
        for key, found in simulate(network, numbers, x[:, part]):
            row = compare(key, found, golden[key][:, part])
            if row.first:
                row = replace(row, first=(row.first[0], row.first[1] + start, *row.first[2:]))
            rows[key] = rows[key].joined(row) if key in rows else row
    if not rows or rows.keys() != golden.keys():
        names = ", ".join(sorted(rows.keys() ^ golden.keys())) or "nothing"
        raise ValueError(f"the network computes other layers than were recorded: {names}")
    return list(rows.values())


def simulate(network: dict[str, Any], numbers: Numbers, x: Ints) -> Iterator[tuple[str, Ints]]:
    """What every neuron does on inputs (T, B, ...): spikes and membranes, by recording."""
    nodes = network["nodes"]
    rest = {n["name"]: np.full((x.shape[1], *n["shape"]), n.get("initial", 0)) for n in nodes}
    neurons, delays = ([n for n in nodes if n["op"] == op] for op in ("neuron", "delay"))
    state = {n["name"]: rest[n["name"]] for n in neurons}
    current = {name: np.zeros_like(v) for name, v in state.items()}
    lines = {n["name"]: [rest[n["name"]]] * n["steps"] for n in delays}  # oldest first
    found: dict[str, list[Ints]] = {f"membranes/{name}": [] for name in state}
    found |= {f"spikes/{n['name']}": [] for n in neurons if n["reset"] != "none"}
    for t in range(network["steps"]):
        now = {network["input"]: x[t].astype(np.int64)}
        now |= {n["name"]: late(n, numbers, lines[n["name"]]) for n in delays}
        for n in nodes:
            name, op, reads = n["name"], n["op"], n["inputs"]
            if op == "neuron":
                u = faded(n, current[name], "current_decay")
                u = current[name] = u + (now[reads[0]] << n["fraction_bits"])
                state[name], now[name] = neuron(n, numbers, state[name], u)
            elif op != "delay":
                now[name] = layer(n, numbers, *(now[i] for i in reads))
        for n in delays:
            lines[n["name"]] = [*lines[n["name"]][1:], now[n["inputs"][0]]]
        for key, steps in found.items():
            what, name = key.split("/", 1)
            steps.append((now if what == "spikes" else state)[name])
    for key, steps in found.items():
        yield key, np.stack(steps)


def compare(key: str, found: Ints, golden: NDArray[Any]) -> Row:
    """One recording (T, B, ...) against the golden one."""
    what, name = key.split("/", 1)
    if not len(off := np.argwhere(found != golden)):
        return Row(name, what, golden.size, 0, samples=golden.shape[1])
    first = tuple(off[0].tolist())
    at = (first, int(found[first]), int(golden[first]))
    return Row(name, what, golden.size, len(off), *at, golden.shape[1])


def main() -> int:
    """Check the files' hashes, replay, print what differs; 0 if nothing does."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    try:
        for name, entry in json.loads((folder / "manifest.json").read_bytes())["files"].items():
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != entry["sha256"]:
                print(f"{name}: not the file that was compiled (sha256)")
                return 1
        rows = replay(folder, int(sys.argv[2]) if len(sys.argv) > 2 else None)
    except Exception as e:  # a damaged file raises what its reader, zip, zlib or numpy has for it
        print(f"cannot be replayed: {type(e).__name__}: {e}")
        return 1
    wrong = [row for row in rows if row.different]
    equal = f"{len(rows) - len(wrong)} of {len(rows)} recordings equal, bit for bit"
    print(*wrong, equal, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
