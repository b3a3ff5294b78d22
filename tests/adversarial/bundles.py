"""Bundles that were changed after the compile, with and without new hashes."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from adversarial.case import Corpus, Tamper, Trial
from adversarial.networks import Net, changed

from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Conv2d, Neuron
from purespike.flow.build import Options, build
from purespike.targets.bundle.bundle import MANIFEST
from purespike.targets.bundle.manifest import file_hash
from purespike.targets.nir.emit import to_bytes
from purespike.targets.nir.read import read_nir
from purespike.targets.onnx.emit import step_model
from purespike.trainer.nn.neuron import IF

corpus = Corpus()
breaks, holds = corpus.breaks, corpus.holds


def write_good_bundle(folder: Path) -> None:
    """What the cases change: a compliant network with a soft reset in it."""
    trial = Trial(changed(Net(), neuron2=IF(threshold=0.3, reset="subtract")))
    build(trial.subject(), Options(golden=8, lava="none")).save(folder)


def signed(change: Tamper) -> Tamper:
    """The change, and a manifest that agrees with it: what someone does who knows the format."""

    def tamper(folder: Path) -> None:
        change(folder)
        path = folder / MANIFEST
        manifest = json.loads(path.read_text())
        files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p != path]
        manifest["files"] = {
            p.relative_to(folder).as_posix(): {"bytes": p.stat().st_size, "sha256": file_hash(p)}
            for p in files
        }
        path.write_text(json.dumps(manifest))

    return tamper


def model(change: Callable[[Graph], Graph], *, onnx: bool = False) -> Tamper:
    """Rewrite model.nir (or model.onnx) with a changed network."""

    def tamper(folder: Path) -> None:
        graph = change(read_nir(folder / "model.nir"))
        if onnx:
            content = step_model(graph).SerializeToString(deterministic=True)
            (folder / "model.onnx").write_bytes(content)
        else:
            (folder / "model.nir").write_bytes(to_bytes(graph))

    return signed(tamper)


def golden(change: Callable[[dict[str, Any]], None]) -> Tamper:
    """Rewrite golden.npz."""

    def tamper(folder: Path) -> None:
        path = folder / "golden.npz"
        with np.load(path) as file:
            arrays = {name: file[name].copy() for name in file.files}
        change(arrays)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        path.write_bytes(buffer.getvalue())

    return signed(tamper)


def weight_moved(graph: Graph) -> Graph:
    """The first convolution, one weight by one."""
    node = next(n for n in graph.nodes if isinstance(n.op, Conv2d))
    assert isinstance(node.op, Conv2d)
    weight = np.array(node.op.weight)
    weight.flat[np.abs(weight).argmax()] *= -1
    other = replace(node, op=replace(node.op, weight=weight))
    return graph.rebuilt([other if n is node else n for n in graph.nodes])


def resets_hard(graph: Graph) -> Graph:
    """Every soft reset as a hard one."""
    return graph.rebuilt(
        replace(n, op=replace(n.op, reset="zero", amount=n.op.threshold))
        if isinstance(n.op, Neuron) and n.op.reset == "subtract"
        else n
        for n in graph.nodes
    )


def threshold_raised(graph: Graph) -> Graph:
    """The first neuron that fires, one unit later."""
    node = next(n for n in graph.nodes if isinstance(n.op, Neuron) and n.op.fires)
    assert isinstance(node.op, Neuron)
    other = replace(node, op=replace(node.op, threshold=node.op.threshold + 20))
    return graph.rebuilt([other if n is node else n for n in graph.nodes])


@breaks("refused model.nir")
def one_bit_of_the_network() -> Tamper:
    """A flipped bit, hashes as they were."""

    def flip(folder: Path) -> None:
        data = bytearray((folder / "model.nir").read_bytes())
        data[len(data) // 2] ^= 1
        (folder / "model.nir").write_bytes(data)

    return flip


@breaks("refused notes.txt")
def unlisted_file() -> Tamper:
    """Something lies in the bundle that the compiler did not write."""
    return lambda folder: (folder / "notes.txt").write_text("run this instead") and None


@breaks("refused model.onnx")
def missing_file() -> Tamper:
    """Listed and not there."""
    return lambda folder: (folder / "model.onnx").unlink()


@breaks("refused report.json")
def prettier_report() -> Tamper:
    """A report whose verdict was edited by hand."""

    def edit(folder: Path) -> None:
        path = folder / "report.json"
        path.write_text(path.read_text().replace("NOT PROVED", "SPIKE-ONLY"))

    return edit


@breaks("refused golden.npz")
def linked_file() -> Tamper:
    """A link to the right bytes somewhere else: they may change after the check."""

    def link(folder: Path) -> None:
        elsewhere = folder.parent / "elsewhere.npz"
        elsewhere.write_bytes((folder / "golden.npz").read_bytes())
        (folder / "golden.npz").unlink()
        (folder / "golden.npz").symlink_to(elsewhere)

    return link


@breaks("PS010")
def one_weight_signed() -> Tamper:
    """One weight of the network changed, every hash right."""
    return model(weight_moved)


@breaks("PS010")
def soft_reset_exported_as_hard() -> Tamper:
    """What an exporter without soft reset does in silence, every hash right."""
    return model(resets_hard)


@breaks("PS010")
def threshold_moved() -> Tamper:
    """Fires a little later, every hash right."""
    return model(threshold_raised)


@breaks("PS010")
def another_network_as_onnx() -> Tamper:
    """model.nir is right, model.onnx is of another network, every hash right."""
    return model(weight_moved, onnx=True)


@breaks("PS010")
def golden_spike_moved() -> Tamper:
    """One recorded spike, every hash right."""

    def move(arrays: dict[str, Any]) -> None:
        name = next(n for n in sorted(arrays) if n.startswith("spikes/"))
        arrays[name].flat[5] ^= 1

    return golden(move)


@breaks("refused golden.npz")
def golden_layer_dropped() -> Tamper:
    """The layer that would disagree is no longer recorded, every hash right."""

    def drop(arrays: dict[str, Any]) -> None:
        name = next(n for n in sorted(arrays) if n.startswith("spikes/"))
        del arrays[name]

    return golden(drop)


@breaks("refused golden.npz")
def golden_layers_all_dropped() -> Tamper:
    """Nothing recorded, so nothing differs, every hash right."""

    def drop(arrays: dict[str, Any]) -> None:
        for name in [n for n in arrays if "/" in n]:
            del arrays[name]

    return golden(drop)


@breaks("refused golden.npz")
def golden_samples_dropped() -> Tamper:
    """0 of 0 spikes differ, every hash right."""

    def drop(arrays: dict[str, Any]) -> None:
        for name, array in arrays.items():
            arrays[name] = array[:0] if name == "labels" else array[:, :0]

    return golden(drop)


@breaks("refused golden.npz")
def golden_inputs_doubled() -> Tamper:
    """Twice the events in every bin, every hash right."""

    def double(arrays: dict[str, Any]) -> None:
        arrays["inputs"] *= 2

    return golden(double)


@breaks("PS010 lava/arrays.npz")
def other_program_for_lava() -> Tamper:
    """The network is right, the program that the chip would get is not, every hash right."""

    def spoil(folder: Path) -> None:
        path = folder / "lava" / "arrays.npz"
        with np.load(path) as file:
            arrays = {name: file[name].copy() for name in file.files}
        name = max(arrays, key=lambda n: (arrays[n].dtype.kind in "if", arrays[n].size))
        arrays[name].flat[0] += 1
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        path.write_bytes(buffer.getvalue())

    return signed(spoil)


@breaks("PS010 golden_network.npz")
def other_network_for_the_replay() -> Tamper:
    """The plain-data copy of the network is of another one, every hash right."""

    def spoil(folder: Path) -> None:
        path = folder / "golden_network.npz"
        with np.load(path) as file:
            arrays = {name: file[name].copy() for name in file.files}
        next(iter(arrays.values())).flat[0] += 1
        np.savez(path, **arrays)

    return signed(spoil)


@holds
def untouched_copy() -> Tamper:
    """The bundle, copied."""
    return lambda folder: None


@holds
def manifest_written_anew() -> Tamper:
    """Keys in another order, other white space: the same statements."""
    return signed(lambda folder: None)
