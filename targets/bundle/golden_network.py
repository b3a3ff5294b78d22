"""The integer network as plain data that numpy alone reads: what replay.py executes.

``golden_network.json`` lists the nodes in order of evaluation, ``golden_network.npz`` holds their
whole numbers. Thresholds, amounts and initial membranes count in ``2**-fraction_bits`` of a weight.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.errors import UsageError
from purespike.compiler.files.archives import DAMAGED, Form, forms
from purespike.compiler.files.reading import opened
from purespike.compiler.ir.domain import SPIKE, Array
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import Add, Conv2d, Delay, Flatten, Linear, Neuron, Scale
from purespike.compiler.wording import QUANTIZE
from purespike.targets.bundle.manifest import BundleError, read_manifest, require_files
from purespike.targets.bundle.replay import Row, replay
from purespike.targets.copies import weight_owners

FORMAT = 1
JSON, NPZ, SCRIPT = "golden_network.json", "golden_network.npz", "replay.py"
_LARGEST, _LARGEST_TEXT = 1 << 32, 1 << 28  # bytes of arrays, and of the list of nodes
_MOST = {"padding": 1 << 10, "steps": 1 << 20, "dilation": 1 << 16, "stride": 1 << 16}
SPREAD = 64  # values of a node without a recording, at most, for each of the largest recorded layer
_NEVER = 1 << 60  # a threshold that no membrane reaches


class GoldenNetworkError(UsageError):
    """A graph that has no form in whole numbers."""


def write_golden_network(graph: Graph, folder: Path) -> None:
    """Write the two files and the script that runs them into ``folder``.

    Raises:
        GoldenNetworkError: If a node is not an integer operation; the message names it.
    """
    spikes = len(graph.inputs) == 1 and graph.inputs[0].domain <= SPIKE
    if not spikes or any(n.role == "host" for n in graph.nodes):
        raise GoldenNetworkError(
            "golden vectors hold what runs on the chip, behind one input of spikes",
            found=", ".join(map(str, graph.inputs)),
            remedy="encode the input as spikes on the host",
        )
    numbers: dict[str, NDArray[Any]] = {}
    owners = weight_owners(graph)
    network = {
        "format": FORMAT,
        "input": graph.inputs[0].name,
        "outputs": list(graph.outputs),
        "steps": graph.steps,
        "nodes": [_node(graph, n, numbers, owners) for n in graph.nodes],
    }
    text = json.dumps(network, indent=1, sort_keys=True) + "\n"
    (folder / JSON).write_text(text, encoding="utf-8")
    buffer = io.BytesIO()
    save: Any = np.savez_compressed
    save(buffer, allow_pickle=False, **numbers)
    (folder / NPZ).write_bytes(buffer.getvalue())
    (folder / SCRIPT).write_bytes(Path(__file__).with_name(SCRIPT).read_bytes())


def replay_bundle(folder: Path, samples: int | None = None) -> tuple[int, list[Row]]:
    """Check every hash of a bundle and replay its golden vectors with numpy alone.

    Args:
        folder: A bundle.
        samples: The first so many; None is all.

    Returns:
        How many files the manifest lists, and one row for every layer's spikes and membranes.

    Raises:
        BundleError: If the bundle is incomplete, damaged or tampered with.
    """
    listed = read_manifest(folder)["files"]
    return len(listed), replay_rows(folder, samples)


def replay_rows(folder: Path, samples: int | None = None) -> list[Row]:
    """As `replay_bundle`, of a bundle whose hashes are checked."""
    require_files(folder, JSON, NPZ, "golden.npz")
    try:
        _require_small(folder)
        return replay(folder, samples)
    except DAMAGED as e:
        raise BundleError(
            "the golden vectors cannot be replayed",
            where=str(folder),
            found=f"{type(e).__name__}: {e}",
            remedy="compile again",
        ) from e


def _require_small(folder: Path) -> None:
    """Raise for files that ask for more memory than they are long, before anything is computed.

    `replay` stands alone in every bundle and believes what it reads.
    """
    held: dict[str, Form] = {}
    for name, most in ((NPZ, _LARGEST), ("golden.npz", _LARGEST), (JSON, _LARGEST_TEXT)):
        with opened(folder / name, most, BundleError, "a file of the bundle") as file:
            if name == JSON:
                network = json.load(file)
            else:
                with zipfile.ZipFile(file) as archive:
                    held |= forms(archive)
    recorded = [f for name, f in held.items() if name.startswith(("inputs", "spikes/", "mem"))]
    most = max(math.prod(shape[2:]) for shape, _ in recorded)
    for node in network["nodes"]:
        sizes = {key: np.ravel(node.get(key, 0)).tolist() for key in _MOST}
        small = all(0 <= n <= _MOST[key] for key, numbers in sizes.items() for n in numbers)
        if not small or not 0 <= math.prod(node["shape"]) <= SPREAD * most:
            raise ValueError(f"{node['name']}: sizes that no recorded layer has")


def _node(
    graph: Graph, node: Node, numbers: dict[str, NDArray[Any]], owners: dict[str, str]
) -> dict[str, Any]:
    op = node.op

    def put(what: str, values: Array, unit: int = 1) -> str:
        key = f"{node.name}/{what}"
        numbers[key] = _whole(node, what, values, unit)
        return key

    data: dict[str, Any] = {
        "name": node.name,
        "op": type(op).__name__.lower(),
        "inputs": list(node.inputs),
        "shape": list(node.output.shape),
    }
    if isinstance(op, Conv2d | Linear):
        bias = None if op.bias is None else put("bias", op.bias)
        weight = op.kept if isinstance(op, Linear) else op.weight
        owner = owners[node.name]
        key = put("weight", weight) if owner == node.name else f"{owner}/weight"
        data |= {"weight": key, "bias": bias}
        if isinstance(op, Linear) and owner == node.name:
            numbers[key] = op.spread(numbers[key])
    if isinstance(op, Conv2d):
        geometry = ("stride", "padding", "dilation")
        data |= {name: list(getattr(op, name)) for name in geometry} | {"groups": op.groups}
    elif isinstance(op, Scale):
        data |= {"weight": put("weight", op.factor)}
    elif isinstance(op, Delay):
        data |= {"steps": op.longest}
        if not isinstance(op.steps, int):
            data |= {"each": put("steps", np.broadcast_to(op.steps, node.output.shape))}
    elif isinstance(op, Neuron):
        data |= _neuron(graph, node, op, put)
    elif not isinstance(op, Add | Flatten | Linear):
        raise GoldenNetworkError(
            "an operation has no form in whole numbers",
            where=node.origin or node.name,
            found=type(op).__name__,
            allowed="Conv2d, Linear, Scale, Add, Flatten, Delay, Neuron",
            remedy="run the passes first",
        )
    return data


def _neuron(graph: Graph, node: Node, op: Neuron, put: Any) -> dict[str, Any]:
    fixed = op.fixed
    if fixed is None or (not op.fires and graph.consumers(node.name)):
        raise GoldenNetworkError(
            "a neuron has no form in whole numbers",
            where=node.origin or node.name,
            found="real-valued membrane" if fixed is None else "an integrator that others read",
            remedy=QUANTIZE if fixed is None else "read the integrator on the host",
        )
    unit = 1 << fixed.fraction_bits
    data: dict[str, Any] = {
        "reset": op.reset,
        "decay": round(op.decay * 2**fixed.decay_bits),
        "current_decay": round(op.current_decay * 2**fixed.decay_bits),
        "decay_bits": fixed.decay_bits,
        "fraction_bits": fixed.fraction_bits,
        "limit": fixed.limit,
        "initial": int(_whole(node, "initial membrane", np.array(op.initial), unit)),
    }
    if op.fires:
        data["threshold"] = put("threshold", op.threshold, unit)
    if op.reset == "subtract":
        data["amount"] = put("amount", op.amount, unit)
    return data


def _whole(node: Node, what: str, values: Array, unit: int) -> NDArray[Any]:
    """In the smallest type that holds them."""
    units = np.where(np.isposinf(values), _NEVER, values * unit)
    if not bool((np.rint(units) == units).all()) or float(np.abs(units).max()) > _NEVER:
        raise GoldenNetworkError(
            f"a {what} is not whole",
            where=node.origin or node.name,
            found=f"{values.min():g} to {values.max():g}",
            allowed=f"whole multiples of 1/{unit}",
            remedy=QUANTIZE,
        )
    whole = units.astype(np.int64, order="C")  # .npy files record the order in memory
    for dtype in (np.int8, np.int32):
        if np.array_equal(whole.astype(dtype), whole):
            return whole.astype(dtype)
    return whole
