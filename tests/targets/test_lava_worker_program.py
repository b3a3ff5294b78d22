"""The program's folder, and what may not enter one."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from purespike.targets.lava.program.check import ProgramError, check
from purespike.targets.lava.program.file import read, write
from purespike.targets.lava.program.program import (
    Connection,
    Conv,
    Dense,
    Lif,
    Process,
    Program,
    SoftIf,
    Source,
    Sparse,
    input_shape,
    membrane_steps,
    output_shape,
)


def example() -> Program:
    rng = np.random.default_rng(0)
    shape = (5, 4, 2)
    return Program(
        processes=(
            Source("in", shape, (rng.random((6, *shape)) < 0.5).astype(np.uint8)),
            Conv("layer1.conv", rng.integers(-128, 128, (2, 3, 1, 2)), shape, padding=(1, 0)),
            Lif("n1", shape, 30, bias=rng.integers(-5, 5, shape), reset_interval=3),
            Sparse("skip", rng.integers(-9, 9, 40), delay=1),
            Sparse("pairs", np.array([1, -2]), 0, np.array([0, 3]), np.array([1, 39]), (40, 40)),
            SoftIf("n2", shape, np.full(shape, 7), 9, dv=100),
            Dense("fc", rng.integers(-127, 128, (3, 40)).astype(np.int8)),
            Lif("out", (3,), 2**17 - 1),
        ),
        connections=(
            Connection("in", "layer1.conv"),
            Connection("layer1.conv", "n1"),
            Connection("n1", "skip", "flatten"),
            Connection("n1", "pairs", (40,)),
            Connection("skip", "n2", shape),
            Connection("pairs", "n2", shape),
            Connection("n2", "fc", "flatten"),
            Connection("fc", "out"),
        ),
        steps=8,
        record=("n1", "n2"),
        record_v=("out",),
        record_v_interval=4,
    )


def changed(process: str, **values: Any) -> Program:
    """The example with fields of one process changed."""
    program = example()
    processes = tuple(replace(p, **values) if p.name == process else p for p in program.processes)
    return replace(program, processes=processes)


def test_a_program_read_back_is_the_same(tmp_path: Path) -> None:
    program = example()
    write(program, tmp_path / "p")
    back = read(tmp_path / "p")
    for made, found in zip(program.processes, back.processes, strict=True):
        assert type(made) is type(found)
        for item in fields(made):
            a, b = getattr(made, item.name), getattr(found, item.name)
            assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
            assert np.asarray(a).dtype == np.asarray(b).dtype
    assert replace(back, processes=()).__dict__ == replace(program, processes=()).__dict__
    assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
        "arrays.npz",
        "program.json",
    ]


def test_equal_programs_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(example(), tmp_path / name)
    for file in ("program.json", "arrays.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize("damage", ["no json", "no arrays", "other arrays", "version", "key"])
def test_a_damaged_folder_is_refused(damage: str, tmp_path: Path) -> None:
    write(example(), tmp_path)
    text = json.loads((tmp_path / "program.json").read_text())
    if damage == "no json":
        (tmp_path / "program.json").write_text("{")
    elif damage == "no arrays":
        (tmp_path / "arrays.npz").unlink()
    elif damage == "other arrays":
        np.savez(tmp_path / "arrays.npz", x=np.zeros(3))
    elif damage == "version":
        (tmp_path / "program.json").write_text(json.dumps({**text, "version": 2}))
    else:
        del text["processes"][0]["shape"]
        (tmp_path / "program.json").write_text(json.dumps(text))
    with pytest.raises(ProgramError, match="no Lava program that can be read") as raised:
        read(tmp_path)
    assert raised.value.where == str(tmp_path)


def test_a_source_needs_its_file(tmp_path: Path) -> None:
    write(changed("in", spikes=None), tmp_path)
    with pytest.raises(ProgramError, match=r"in\.npy"):
        read(tmp_path)
    np.save(tmp_path / "in.npy", np.full((6, 5, 4, 2), 2, np.uint8))
    with pytest.raises(ProgramError, match="values that are not spikes"):
        read(tmp_path)
    np.save(tmp_path / "in.npy", np.ones((6, 5, 4, 2), np.uint8))
    assert read(tmp_path).processes[0].name == "in"


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("fc", {"weight": np.full((3, 40), -256)}, "weight is out of range"),
        ("fc", {"weight": np.full((3, 40), 256)}, "weight is out of range"),
        ("fc", {"weight": np.eye(3, 40, dtype=int) * 200 - 1}, "weight is out of range"),
        ("fc", {"weight": np.ones((3, 40))}, "not an integer array"),
        ("fc", {"weight": np.ones((3, 39), int)}, "do not fit together"),
        ("layer1.conv", {"weight": np.full((2, 3, 1, 2), 256)}, "weight is out of range"),
        ("layer1.conv", {"groups": 2}, "do not fit together"),
        ("layer1.conv", {"input_shape": (5, 4)}, "do not fit together"),
        ("layer1.conv", {"padding": (0, 0)}, "do not fit together"),
        ("layer1.conv", {"stride": (0, 1)}, "do not fit together"),
        ("layer1.conv", {"dilation": (9, 1)}, "do not fit together"),
        ("skip", {"delay": 63}, "delay is out of range"),
        ("skip", {"weight": np.ones((40, 40), int)}, "not an integer array"),
        ("pairs", {"rows": np.array([0, 40])}, "do not fit together"),
        ("pairs", {"rows": np.array([0, 0]), "columns": np.array([1, 1])}, "do not fit together"),
        ("pairs", {"size": None}, "do not fit together"),
        ("n1", {"vth": -1}, "vth is out of range"),
        ("n1", {"vth": 2**17}, "vth is out of range"),
        ("n1", {"bias": 4096}, "bias is out of range"),
        ("n1", {"bias": np.zeros(2, int)}, "do not fit together"),
        ("n1", {"reset_interval": -1}, "do not fit together"),
        ("n2", {"amount": -1}, "amount is out of range"),
        ("n2", {"dv": 4096}, "dv is out of range"),
        ("n2", {"name": "n1"}, "process name 'n1' cannot be used"),
        ("n2", {"name": "../n"}, "process name '../n' cannot be used"),
        ("in", {"spikes": np.zeros((9, 5, 4, 2), np.uint8)}, "wrong type or shape"),
        ("in", {"spikes": np.zeros((2, 5, 4, 2))}, "wrong type or shape"),
        ("in", {"spikes": np.full((2, 5, 4, 2), 3, np.uint8)}, "not spikes"),
        ("out", {"shape": (4,)}, "do not fit together"),
    ],
)
def test_values_that_lava_would_take_wrongly_are_refused(
    name: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProgramError, match=message) as raised:
        check(changed(name, **values))
    assert raised.value.found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "options are not valid"),
        ({"conv": "quick"}, "options are not valid"),
        ({"record_v_interval": 0}, "options are not valid"),
        ({"record": ()}, "no spiking neuron is recorded"),
        ({"record": ("fc",)}, "record is not a list"),
        ({"record": ("n1", "n1")}, "record is not a list"),
        ({"record_v": ("in",)}, "record_v is not a list"),
        ({"connections": (Connection("in", "nowhere"),)}, "does not exist"),
        ({"connections": (Connection("in", "fc"),)}, "do not fit together"),
        ({"connections": (Connection("in", "fc", (40, 1)),)}, "do not fit together"),
        ({"connections": (Connection("fc", "skip"),)}, "do not fit together"),
        ({"connections": (Connection("n1", "in"),)}, "do not fit together"),
        (
            {"connections": (Connection("in", "fc", "flatten"), Connection("n1", "fc", "flatten"))},
            "do not fit together",
        ),
        ({"connections": (Connection("n1", "n2"), Connection("n2", "n1"))}, "feed each other"),
    ],
)
def test_programs_that_lava_would_run_wrongly_are_refused(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProgramError, match=message):
        check(replace(example(), **values))


def test_shapes_and_steps() -> None:
    by_name: dict[str, Process] = {p.name: p for p in example().processes}
    assert (input_shape(by_name["layer1.conv"]), output_shape(by_name["layer1.conv"])) == (
        (5, 4, 2),
        (5, 4, 2),
    )
    assert (input_shape(by_name["in"]), output_shape(by_name["in"])) == ((), (5, 4, 2))
    assert (input_shape(by_name["fc"]), output_shape(by_name["fc"])) == ((40,), (3,))
    assert membrane_steps(example()) == [4, 8]
    assert membrane_steps(replace(example(), record_v_offset=5)) == [1, 5]
