"""The bundle: one folder with everything a hardware team needs, each file with its hash.

    model.nir      the integer network (also read back by purespike)
    model.onnx     the integer golden model, one time step, states explicit
    model.qonnx.onnx  the same with QONNX's quantization annotations, if asked for
    lava/          the Lava program of the golden samples, as plain data and as run.py
    golden.npz     inputs, labels, every layer's spikes and every membrane
    golden_network.json, golden_network.npz
                   the integer network as plain data, for numpy alone
    c/             the network as a C program with golden samples, if asked for
    replay.py      replays golden.npz with numpy alone: what the chip must do, as a program
    report.json    the compliance report
    report.html    the same to look at: one file, no network
    manifest.json  versions, options, size and sha256 of every file

The same build gives the same bytes: no clock, no paths.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.choices import Form, as_path
from purespike.compiler.errors import PurespikeError
from purespike.compiler.files import archives
from purespike.compiler.files.archives import DAMAGED
from purespike.compiler.files.kinds import BUNDLE
from purespike.compiler.files.reading import opened
from purespike.compiler.files.writing import OutputError, staged_folder
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Trace
from purespike.compiler.labels import checked_labels, output_classes
from purespike.compiler.proofs.widths import require_widths
from purespike.compiler.report.page.page import to_html
from purespike.compiler.report.report import Report
from purespike.targets.bundle.golden_network import write_golden_network
from purespike.targets.bundle.manifest import FORMAT, file_hash, read_json
from purespike.targets.bundle.manifest import MANIFEST as MANIFEST
from purespike.targets.bundle.manifest import BundleError as BundleError
from purespike.targets.bundle.manifest import read_manifest as read_manifest
from purespike.targets.bundle.manifest import require_files as require_files
from purespike.targets.bundle.manifest import unreplaced as unreplaced
from purespike.targets.c.footprint import footprint, require_ram
from purespike.targets.c.golden import write_c
from purespike.targets.lava.lower.emit import emit
from purespike.targets.lava.lower.schedule import schedule
from purespike.targets.lava.lower.script import write_script
from purespike.targets.lava.program.file import write as write_program
from purespike.targets.netx.emit import write_netx
from purespike.targets.nir.document import Document
from purespike.targets.nir.emit import write_nir
from purespike.targets.nir.foreign.read import Conventions
from purespike.targets.nir.read import extra_of, read_both
from purespike.targets.onnx.emit import write_onnx
from purespike.targets.spec import LOIHI2

# Files that are written only if asked for, and by which option; the rest belongs together.
EXTRAS = {"model.qonnx.onnx": "--onnx qonnx", "model.net": "--netx", "c": "--c"}
C_SAMPLES = 4  # golden samples that the C program holds, at most
_LARGEST_GOLDEN = 1 << 32  # bytes of golden.npz
_TRIED = 1 << 18  # bytes of an array on which its compression is chosen


class NotWritten(PurespikeError):
    """A model file that cannot say the network; the verdict and the other files are written."""

    def __init__(self, name: str, error: PurespikeError, folder: Path, option: str = "") -> None:
        extra = name in EXTRAS
        ways = [error.remedy, f"leave out {option}" if option else ""]
        super().__init__(
            f"{name if extra else 'the model files'} cannot be written: {error.message}",
            found=error.found,
            allowed=error.allowed,
            where=error.where or name,
            remedy=", or ".join(way for way in ways if way),
        )
        self.add_note(f"{folder} holds {'every other file' if extra else 'the report only'}")


@dataclass(frozen=True)
class Golden:
    """Samples with all that the integer network did on them.

    Attributes:
        inputs: uint8 (T, B, *shape).
        labels: int64 (B,).
        spikes: uint8 (T, B, *shape) by firing neuron.
        membranes: int32 (T, B, *shape) by neuron, after the reset, in 64ths of a weight.
    """

    inputs: NDArray[np.uint8]
    labels: NDArray[np.int64]
    spikes: Mapping[str, NDArray[np.uint8]]
    membranes: Mapping[str, NDArray[np.int32]]

    def __repr__(self) -> str:
        """One line: the arrays are large."""
        return f"Golden(samples={len(self.labels)}, layers={', '.join(self.membranes)})"

    def trace(self) -> Trace:
        """As a trace, in the integers that are kept."""
        return Trace(dict(self.spikes), dict(self.membranes))

    def part(self, samples: NDArray[np.int64]) -> Golden:
        """The same of some samples."""
        return Golden(
            self.inputs[:, samples],
            self.labels[samples],
            {n: a[:, samples] for n, a in self.spikes.items()},
            {n: a[:, samples] for n, a in self.membranes.items()},
        )


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read back, every hash checked.

    Attributes:
        folder: Where it lies.
        graph: The network of model.nir.
        document: The same file as plain data.
        golden: The golden samples.
        report: report.json, as it is.
        manifest: manifest.json, as it is.
    """

    folder: Path
    graph: Graph
    document: Document
    golden: Golden
    report: Mapping[str, Any]
    manifest: Mapping[str, Any]

    @cached_property
    def said(self) -> Report:
        """What the report says; raises ReportError if it is none of this version."""
        return Report.from_data(self.report)

    def __repr__(self) -> str:
        """One line, with what its report says."""
        verdict = self.report.get("verdict")
        said = verdict.get("headline", "") if isinstance(verdict, dict) else ""
        return f"Bundle({str(self.folder)!r}, {said!r}, {self.graph!r})"

    @property
    def notes(self) -> dict[str, Any]:
        """What model.nir carries beside the network, such as scales and boundaries."""
        return dict(extra_of(self.document))


Writers = Mapping[str, Callable[[], None]]


@dataclass(frozen=True)
class Models:
    """Which model files a bundle has, and what they carry beside the network.

    Attributes:
        notes: Such as scales and boundaries.
        nir_strict: Whether model.nir says everything with plain nodes (`write_nir`).
        onnx: Form of model.onnx (`write_onnx`); ``qonnx`` adds model.qonnx.onnx to the step form.
        netx: Whether to add model.net for lava-dl, which knows sequential networks only.
        c: Whether to add c/, the C program.
        c_ram: Bytes of working memory that the C program may have; None for any.
    """

    notes: Mapping[str, Any] = field(default_factory=dict)
    nir_strict: bool = False
    onnx: Form = "step"
    netx: bool = False
    c: bool = False
    c_ram: int | None = None

    def writers(self, graph: Graph, golden: Golden, folder: Path) -> tuple[Writers, Writers]:
        """What writes the files that belong together, and each extra one, by name."""
        notes = dict(self.notes)
        form: Form = "step" if self.onnx == "qonnx" else self.onnx
        together: Writers = {
            "model.nir": lambda: write_nir(
                graph, folder / "model.nir", strict=self.nir_strict, extra=notes
            ),
            "model.onnx": lambda: write_onnx(graph, folder / "model.onnx", form, notes=notes),
            "golden.npz": lambda: _write_golden(golden, folder / "golden.npz"),
            "golden_network.json": lambda: write_golden_network(graph, folder),
            "lava": lambda: _write_lava(graph, golden, folder / "lava"),
        }
        extras: dict[str, Callable[[], None]] = {}
        if self.onnx == "qonnx":
            name = "model.qonnx.onnx"
            extras[name] = lambda: write_onnx(graph, folder / name, "qonnx", notes=notes)
        if self.netx:
            extras["model.net"] = lambda: write_netx(graph, folder / "model.net")
        if self.c:
            extras["c"] = lambda: _write_c(graph, golden, folder / "c", self.c_ram)
        return together, extras


def write_bundle(
    folder: str | os.PathLike[str],
    *,
    report: Report,
    options: Mapping[str, Any],
    versions: Mapping[str, str],
    graph: Graph | None = None,
    golden: Golden | None = None,
    models: Models | None = None,
) -> None:
    """Write a bundle, whole or not at all.

    Args:
        folder: Where; an older bundle there is replaced.
        report: The report.
        options: What the compiler was told.
        versions: Of purespike and what it used.
        graph: The integer network; None if the compile stopped: then only the report is written.
        golden: Its golden samples.
        models: Which model files; by default NIR and ONNX in the step form.

    Raises:
        OutputError: If the folder holds something else or cannot be written.
        WidthError: If a current may wrap around: then no file could say what the chip does.
        NotWritten: If a target cannot say the graph. The bundle is written all the same: with the
            report, and with the files that belong together only if all of them can be written.
    """
    folder = as_path(folder, "folder")
    if graph is not None:
        require_widths(graph, current_limit=LOIHI2.current_limit)
    failed: dict[str, Exception] = {}
    with staged_folder(folder, BUNDLE) as stage:
        if graph is not None and golden is not None:
            kept = models or Models()
            failed = _write_models(stage, *kept.writers(graph, golden, stage))
        text = report.to_json()
        (stage / "report.json").write_text(text, encoding="utf-8")
        shown = golden.trace() if golden and (stage / "golden.npz").exists() else None
        try:
            page = to_html(Report.from_json(text), shown)
            (stage / "report.html").write_text(page, encoding="utf-8")
        except OSError:
            raise
        except Exception as e:
            failed["report.html"] = e
        manifest = make_manifest(stage, options, versions)
        if failed:
            manifest["not_written"] = {name: str(e) for name, e in failed.items()}
        listed = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        (stage / MANIFEST).write_text(listed, encoding="utf-8")
    if failed:
        raise _first(failed, folder, "--nir-strict" if models and models.nir_strict else "")


def _write_models(
    stage: Path, writers: Mapping[str, Callable[[], None]], extras: Mapping[str, Callable[[], None]]
) -> dict[str, Exception]:
    """Write the model files: all that belong together or none of them, and each extra one or not.

    Returns:
        By name, what could not be written and why: the verdict is not lost with it.
    """
    failed: dict[str, Exception] = {}
    for name, write in (*writers.items(), *extras.items()):
        try:
            write()
        except (OSError, OutputError):  # then nothing can be written
            raise
        except Exception as e:
            failed[name] = e
            if name in writers:
                for path in stage.iterdir():
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                break
    return failed


def _first(failed: Mapping[str, Exception], folder: Path, strict: str) -> Exception:
    """The first of what could not be written, with the others beside it."""
    (name, first), *others = failed.items()
    if isinstance(first, PurespikeError):
        option = EXTRAS.get(name, strict if name == "model.nir" else "")
        first = NotWritten(name, first, folder, option)
    for name, e in others:
        first.add_note(f"{name} cannot be written either: {e}")
    return first


def _write_lava(graph: Graph, golden: Golden, folder: Path) -> None:
    plan = schedule(graph)
    program = emit(graph, plan, golden.inputs)
    write_program(program, folder)
    write_script(program, plan, graph.steps, folder)


def _write_c(graph: Graph, golden: Golden, folder: Path, ram: int | None) -> None:
    needs = footprint(graph)
    if ram is not None:
        require_ram(needs, ram)
    some = golden.part(np.arange(min(C_SAMPLES, len(golden.labels))))
    folder.mkdir()
    write_c(graph, folder, some.inputs, some.spikes, some.membranes)


def make_manifest(
    folder: Path, options: Mapping[str, Any], versions: Mapping[str, str]
) -> dict[str, Any]:
    """What the manifest says of the files that lie in a folder."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST)
    return {
        **BUNDLE.mark,
        "format": FORMAT,
        "options": dict(options),
        "versions": dict(versions),
        "files": {
            p.relative_to(folder).as_posix(): {"bytes": p.stat().st_size, "sha256": file_hash(p)}
            for p in files
        },
    }


def read_bundle(folder: str | os.PathLike[str]) -> Bundle:
    """Read a bundle and check every hash.

    Raises:
        BundleError: If it is incomplete, damaged or tampered with, or replaced meanwhile.
        NirFileError: If the network in it cannot be read.
        LabelError: If a golden label is none of the network's classes.
    """
    folder = as_path(folder, "folder")
    with unreplaced(folder):
        return _read_bundle(folder)


def _read_bundle(folder: Path) -> Bundle:
    manifest = read_manifest(folder)
    require_files(folder, "model.nir", "golden.npz", "report.json")
    _require_meaning(manifest, folder)
    report = read_json(folder / "report.json")
    graph, document = read_both(folder / "model.nir", Conventions())
    if not document.metadata:
        raise BundleError(
            "the network of the bundle was not written by purespike",
            where=str(folder / "model.nir"),
            remedy="compile again",
        )
    golden = read_golden(folder / "golden.npz")
    samples = golden.inputs.shape[1] if golden.inputs.ndim > 1 else 0
    where = str(folder / "golden.npz")
    labels = checked_labels(golden.labels, samples, where, *output_classes(graph))
    return Bundle(folder, graph, document, replace(golden, labels=labels), report, manifest)


def _require_meaning(manifest: Mapping[str, Any], folder: Path) -> None:
    """Raise unless what else the manifest says has the form that `write_bundle` gives it."""
    for name in ("versions", "not_written"):
        said = manifest.get(name, {})
        texts = isinstance(said, dict) and all(isinstance(text, str) for text in said.values())
        if not texts or (name == "versions" and "purespike" not in said):
            raise BundleError(
                f"the manifest's {name} have no meaning",
                where=str(folder / MANIFEST),
                found=f"{json.dumps(said):.60}",
                allowed="a text by name" + (", that of purespike too" * (name == "versions")),
                remedy="copy the bundle again, or compile again",
            )


def _write_golden(golden: Golden, path: Path) -> None:
    """As `np.savez_compressed` writes it, but much faster, and some percent larger."""
    arrays = {"inputs": golden.inputs, "labels": golden.labels}
    arrays |= {f"spikes/{n}": a for n, a in golden.spikes.items()}
    arrays |= {f"membranes/{n}": a for n, a in golden.membranes.items()}
    write: Any = np.lib.format.write_array
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                values = np.ascontiguousarray(array)
                # zipfile has no argument for zlib's strategy; what it made here wrote nothing yet.
                setattr(member, "_compressor", _compressor(values))  # noqa: B010
                write(member, values, allow_pickle=False)


def _compressor(values: NDArray[Any]) -> zlib._Compress:
    """The least work that packs an array nearly as well as more: it is tried on a part.

    Spikes are runs of equal bytes, and membranes that move at every step never repeat.
    """
    flat = values.reshape(-1)
    middle = flat[flat.size // 2 :][: _TRIED // values.itemsize].tobytes()

    def made(strategy: int) -> zlib._Compress:
        return zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)

    def size(strategy: int) -> int:
        tried = made(strategy)
        return len(tried.compress(middle)) + len(tried.flush())

    enough = 1.05 * size(zlib.Z_DEFAULT_STRATEGY)
    cheap = (s for s in (zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE) if size(s) <= enough)
    return made(next(cheap, zlib.Z_DEFAULT_STRATEGY))


def read_golden(path: Path) -> Golden:
    """The golden samples of a bundle.

    Raises:
        BundleError: If the file is damaged.
    """
    try:
        with opened(path, _LARGEST_GOLDEN, BundleError, "the file of the golden vectors") as file:
            arrays = archives.arrays(file)
        return Golden(
            arrays["inputs"],
            arrays["labels"],
            {n.removeprefix("spikes/"): a for n, a in arrays.items() if n.startswith("spikes/")},
            {
                n.removeprefix("membranes/"): a
                for n, a in arrays.items()
                if n.startswith("membranes/")
            },
        )
    except DAMAGED as e:
        raise BundleError(
            "the golden vectors cannot be read",
            where=str(path),
            found=str(e) or type(e).__name__,
            remedy="copy the bundle again, or compile again",
        ) from e
