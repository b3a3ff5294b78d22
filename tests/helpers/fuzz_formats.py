"""Every format that a user's file can have: good files, what changes them, and what reads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from helpers.fuzz_mutations import (
    Mutation,
    in_hdf5,
    in_json,
    in_lines,
    in_onnx,
    in_safetensors,
    in_stored_zip,
    in_toml,
    in_zip,
)
from helpers.qonnx_cases import random_network
from helpers.user_files import foreign
from purespike.compiler.errors import UsageError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.report.lookup import read_report
from purespike.compiler.rules.policy import read_policy
from purespike.compiler.rules.waiver import read_waivers
from purespike.flow.inputs.datafile import read_data
from purespike.flow.shards import Part
from purespike.options import Options
from purespike.subject import Subject
from purespike.targets.bundle.bundle import read_bundle, read_golden
from purespike.targets.bundle.golden_network import replay_rows
from purespike.targets.bundle.manifest import MANIFEST
from purespike.targets.lava.program.file import read as read_program
from purespike.targets.netx.emit import write_netx
from purespike.targets.netx.read import read_netx
from purespike.targets.nir.read import read_nir
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.foreign.step import read_step
from purespike.targets.onnx.graph import read_graph
from purespike.targets.onnx.metadata import content_hash
from purespike.targets.onnx.quantized.read import read_quantized
from purespike.targets.onnx.read import parse_onnx
from purespike.trainer.training.logs import read_run
from purespike.trainer.training.recipe_file import SHIPPED, read_tables

Read = Callable[[Path], object]
STATED: dict[str, Any] = {"dt": 1e-3, "if_r": "step", "reset": "zero", "steps": 6}
STATED |= {"fires": "at", "domain": SPIKE}


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        suffix: Of its name.
        goods: Makes files that can be read, in a folder.
        read: Reads one; raises PurespikeError for a bad one and nothing else.
        inside: What changes its structure; its bytes are changed, too.
        times: Bytes of memory that one of its bytes may take: a zip file unpacks to 1,032, and the
            others are parsed (`helpers.large_files` measures how much that takes).
    """

    suffix: str
    goods: Callable[[Path], list[Path]]
    read: Read
    inside: Mutation
    times: int = 100


def bundle(folder: Path) -> Path:
    """A whole bundle, made once in a folder."""
    if (folder / "bundle").is_dir():
        return folder / "bundle"
    from purespike.flow.build import build as compiled

    source = foreign(folder / "user.nir")
    x = (np.random.default_rng(0).random((6, 5, 2)) < 0.5).astype(np.uint8)
    subject = Subject("user", read_nir(source, **STATED), (2,), x)
    compiled(subject, Options(lava="none", golden=5, lava_samples=5)).save(folder / "bundle")
    return folder / "bundle"


def in_bundle(name: str, read: Read) -> tuple[Callable[[Path], list[Path]], Read]:
    """A file of a bundle, whose hashes are right again when it is read."""

    def goods(folder: Path) -> list[Path]:
        return [bundle(folder) / name]

    def reads(path: Path) -> object:
        whole = path.parent / "bundle"
        copy = path.parent / "changed"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        content = path.read_bytes()
        (copy / name).write_bytes(content)
        if name == "lava/arrays.npz":  # the program says which arrays are its own
            text = json.loads((copy / "lava/program.json").read_text())
            text["arrays_sha256"] = sha256(content).hexdigest()
            said = json.dumps(text).encode()
            (copy / "lava/program.json").write_bytes(said)
        if name != MANIFEST:
            manifest = json.loads((copy / MANIFEST).read_text())
            listed = {"bytes": len(content), "sha256": sha256(content).hexdigest()}
            manifest["files"][name] = listed
            (copy / MANIFEST).write_text(json.dumps(manifest))
        return read(copy)

    return goods, reads


def _written(write: Callable[[Path], object], name: str) -> Callable[[Path], list[Path]]:
    def goods(folder: Path) -> list[Path]:
        write(folder / name)
        return [folder / name]

    return goods


def _nir(folder: Path) -> list[Path]:
    return [bundle(folder) / "model.nir", folder / "user.nir"]


def _read_nir(path: Path) -> object:
    """Our own files say all themselves."""
    return read_nir(path, **({} if b"purespike" in path.read_bytes() else STATED))


def _netx(folder: Path) -> list[Path]:
    write_netx(read_bundle(bundle(folder)).graph, folder / "ours.net")
    return [folder / "ours.net"]


def _onnx(folder: Path) -> list[Path]:
    return [bundle(folder) / "model.onnx"]


def _step(folder: Path) -> list[Path]:
    import warnings

    import torch
    from torch import nn

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(2, 3, 3)

        def forward(self, x: Any, mem: Any) -> Any:
            u = 0.5 * mem + self.layer(x)
            fired = (u > 1.0).to(u.dtype)
            return fired, u * (1 - fired)

    names = {"input_names": ["x", "mem"], "output_names": ["spk", "mem_out"]}
    given = torch.zeros(1, 2, 6, 6), torch.zeros(1, 3, 4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Step().eval(), given, str(folder / "s.onnx"), dynamo=False, **names)
    return [folder / "s.onnx"]


def _qonnx(folder: Path) -> list[Path]:
    """Convolutions, pools, every quantizer: what the first random networks hold."""
    for seed in range(4):
        (folder / f"q{seed}.onnx").write_bytes(random_network(seed)[0].SerializeToString())
    return [folder / f"q{seed}.onnx" for seed in range(4)]


def _data(path: Path) -> None:
    r = np.random.default_rng(0)
    x, y = r.integers(0, 2, (6, 9, 2)), np.arange(9) % 3
    np.savez_compressed(
        path, inputs=x, labels=y, calibration=x, training_inputs=x, training_labels=y
    )


def _pt2(folder: Path) -> list[Path]:
    import torch
    from torch import nn

    from purespike.trainer.nn.neuron import IF

    model = nn.Sequential(nn.Linear(2, 5), IF(), nn.Linear(5, 3)).eval()
    torch.export.save(torch.export.export(model, (torch.zeros(4, 2, 2),)), folder / "m.pt2")
    return [folder / "m.pt2"]


def _exported(path: Path) -> object:
    from purespike.trainer.capture.exported import read_exported

    return read_exported(path)


def _checkpoint(folder: Path) -> Path:
    from purespike.trainer.networks.configuration import ModelConfig
    from purespike.trainer.networks.models import build as made
    from purespike.trainer.training.checkpoint import save_checkpoint
    from purespike.trainer.training.settings import TrainConfig

    config = ModelConfig(in_channels=2, classes=3, steps=3, size=(4, 4), stem=2, widths=(2,),
                         strides=(1,))  # fmt: skip
    save_checkpoint(folder / "checkpoint", made(config), TrainConfig(), metrics={})
    return folder / "checkpoint"


def in_checkpoint(name: str) -> tuple[Callable[[Path], list[Path]], Read]:
    """A file of a checkpoint."""

    def read(path: Path) -> object:
        from purespike.trainer.training.checkpoint import load_checkpoint

        copy = path.parent / "changed"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(path.parent / "checkpoint", copy)
        (copy / name).write_bytes(path.read_bytes())
        return load_checkpoint(copy)

    return lambda folder: [_checkpoint(folder) / name], read


def _text(name: str, text: str) -> Callable[[Path], list[Path]]:
    return _written(lambda path: path.write_text(text), name)


def _recipes(folder: Path) -> list[Path]:
    return [SHIPPED / "digits.toml", SHIPPED / "vgg-16.toml"]


def _recipe(path: Path) -> object:
    from purespike.trainer.training.recipe import read_recipe

    read_tables(path)
    return read_recipe(path)


WAIVER = """[[waiver]]
rule = "PS005"
where = "blocks.*"
who = "a@b.c"
why = "the chip shifts"
until = 2999-01-01
"""
POLICY = read_policy("leaky").to_toml()


def _ours(path: Path) -> object:
    """A model of ours whose hash of itself is right again."""
    with suppress(DecodeError, OnnxError):
        model = parse_onnx(path)
        for prop in model.metadata_props:
            if prop.key == "purespike.content_sha256":
                prop.value = json.dumps(content_hash(model))
        path.write_bytes(model.SerializeToString())
    return read_graph(path)


def _part(path: Path) -> None:
    made = Part(0, np.arange(64) % 3, {"if": 900, "w.out": 5}, "")
    path.write_bytes(made.packed())


def _read_part(path: Path) -> object:
    """What is no part is run again and no error."""
    if (part := Part.unpacked(path.read_bytes())) is None:
        raise UsageError("no part")
    return part


def _resume(path: Path) -> None:
    import torch

    state = {"state_dict": {"w": torch.randn(9, 9)}, "torch_threads": 2, "spike_kernels": {}}
    torch.save({**state, "epoch": 3, "callbacks": {"x": {"best": torch.zeros(1)}}}, path)


def _read_resume(path: Path) -> object:
    from purespike.trainer.training.lightning_setup import resume_file

    return resume_file(path)


LOG = "epoch,step,loss,rate/a\n0,9,1.5,\n0,9,,0.25\n1,18,0.75,0.5\n"
LAYERS = json.dumps({"layers": ["a", "b"], "neurons": ["a.n"], "first_log": 0})


def _training(name: str) -> Read:
    """Reads a training whose file of that name is the changed one."""

    def read(path: Path) -> object:
        folder = path.parent / "training"
        (folder / "log/version_0").mkdir(parents=True, exist_ok=True)
        (folder / "log/version_0/metrics.csv").write_text(LOG)
        (folder / "layers.json").write_text(LAYERS)
        (folder / name).write_bytes(path.read_bytes())
        return read_run(folder)

    return read


FORMATS: dict[str, Format] = {
    "nir": Format(".nir", _nir, _read_nir, in_hdf5),
    "netx": Format(".net", _netx, lambda p: read_netx(p, steps=6, dt=1e-3), in_hdf5),
    "onnx": Format(".onnx", _onnx, _ours, in_onnx),
    "onnx-step": Format(".onnx", _step, lambda p: read_step(p, steps=6, domain=SPIKE), in_onnx),
    "qonnx": Format(".onnx", _qonnx, read_quantized, in_onnx),
    "pt2": Format(".pt2", _pt2, _exported, in_stored_zip),
    "safetensors": Format(".safetensors", *in_checkpoint("weights.safetensors"), in_safetensors),
    "checkpoint": Format(".json", *in_checkpoint("checkpoint.json"), in_json),
    "data": Format(".npz", _written(_data, "d.npz"), read_data, in_zip, 1100),
    "golden": Format(
        ".npz", *in_bundle("golden.npz", lambda b: read_golden(b / "golden.npz")), in_zip, 1100
    ),
    "bundle-golden": Format(".npz", *in_bundle("golden.npz", read_bundle), in_zip, 1100),
    "network": Format(".json", *in_bundle("golden_network.json", replay_rows), in_json),
    "network-numbers": Format(".npz", *in_bundle("golden_network.npz", replay_rows), in_zip, 1100),
    "manifest": Format(".json", *in_bundle(MANIFEST, read_bundle), in_json),
    "report": Format(
        ".json", *in_bundle("report.json", lambda b: read_report(b / "report.json")), in_json
    ),
    "program": Format(
        ".json", *in_bundle("lava/program.json", lambda b: read_program(b / "lava")), in_json
    ),
    "program-arrays": Format(
        ".npz", *in_bundle("lava/arrays.npz", lambda b: read_program(b / "lava")), in_zip, 1100
    ),
    "part": Format(".npz", _written(_part, "part.npz"), _read_part, in_zip, 1100),
    "resume": Format(".ckpt", _written(_resume, "r.ckpt"), _read_resume, in_zip, 1100),
    "log": Format(".csv", _text("m.csv", LOG), _training("log/version_0/metrics.csv"), in_lines),
    "layers": Format(".json", _text("l.json", LAYERS), _training("layers.json"), in_json),
    "recipe": Format(".toml", _recipes, _recipe, in_toml),
    "policy": Format(".toml", _text("p.toml", POLICY), read_policy, in_toml),
    "waivers": Format(
        ".toml", _text("w.toml", WAIVER), lambda p: read_waivers(p, date(2026, 1, 1)), in_toml
    ),
}
TORCH = ("onnx-step", "pt2", "safetensors", "checkpoint", "recipe", "resume")
