"""Files with something changed: in their bytes, or in what the bytes of their format mean."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import onnx

Mutation = Callable[[bytes, random.Random], bytes]
NUMBERS = (0, 1, -1, 255, 1 << 15, (1 << 31) - 1, -(1 << 31), 1 << 40, (1 << 63) - 1)


def in_bytes(good: bytes, r: random.Random) -> bytes:
    """Bits, bytes, numbers, or whole parts of the file."""
    raw = bytearray(good)
    for _ in range(r.choice((1, 1, 2, 4, 16))):
        at = r.randrange(len(raw)) if raw else 0
        length = r.choice((1, 4, 64, 1 << r.randrange(14)))
        kind = r.randrange(7)
        if kind == 0 and raw:
            raw[at] ^= 1 << r.randrange(8)
        elif kind == 1 and raw:
            raw[at] = r.choice((0, 255, 0x7F, 0x80, r.randrange(256)))
        elif kind == 2:
            width = r.choice((2, 4, 8))
            raw[at : at + width] = (r.choice(NUMBERS) & ((1 << 8 * width) - 1)).to_bytes(
                width, "little"
            )
        elif kind == 3:
            del raw[at : at + length]
        elif kind == 4:
            raw[at:at] = raw[at : at + length]
        elif kind == 5:
            raw[at:at] = r.randbytes(min(length, 256))
        elif r.random() < 0.2:
            del raw[at:]
    return bytes(raw)


def _other(value: Any, r: random.Random) -> Any:
    """Something that is not meant where this value is."""
    choices: list[Any] = [None, True, "", "x" * 300, [], {}, [[]], 1e308, -0.0, 0.5, *NUMBERS]
    choices += [float("nan"), float("inf"), [value], {"a": value}, str(value), "\0", "../../x"]
    if isinstance(value, int | float) and not isinstance(value, bool):
        choices += [value + 1, -value, value * 1e9]
    if isinstance(value, list) and value:
        choices += [value[:-1], value * 2, value[::-1]]
    return r.choice(choices)


def _changed(data: Any, r: random.Random) -> Any:
    """Plain data with one value changed, removed or put somewhere else."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    if isinstance(data, dict | list):
        walk(data)
    if not places:
        return _other(data, r)
    for _ in range(r.choice((1, 1, 2, 3))):
        node, key = r.choice(places)
        if (isinstance(node, list) and key >= len(node)) or (
            isinstance(node, dict) and key not in node
        ):
            continue
        kind = r.randrange(5)
        if kind == 0:
            del node[key]
        elif kind == 1 and isinstance(node, dict):
            node[str(_other(key, r))] = node[key]
        elif kind == 2:
            other, there = r.choice(places)
            if isinstance(other, dict) and there in other:
                node[key] = json.loads(json.dumps(other[there], default=str))
        else:
            node[key] = _other(node[key], r)
    return data


def in_json(good: bytes, r: random.Random) -> bytes:
    """A value, a key or the nesting."""
    if r.random() < 0.05:
        return r.choice((b"[" * 100_000, b'{"a":' * 50_000, b"9" * 10_000, b'"\\ud800"', b"nul"))
    return json.dumps(_changed(json.loads(good), r)).encode()


def in_lines(good: bytes, r: random.Random) -> bytes:
    """A cell of a table, a line of it, or what ends a line."""
    lines = [line.split(",") for line in good.decode().splitlines()]
    for _ in range(r.choice((1, 1, 2))):
        line = r.choice(lines)
        kind = r.randrange(5)
        if kind == 0:
            line[r.randrange(len(line))] = str(_other(1, r))
        elif kind == 1:
            line.append(r.choice(("", "x", '"', "0" * 200_000, "\0")))
        elif kind == 2:
            del line[r.randrange(len(line)) :]
            line.append("1")
        elif kind == 3:
            lines[r.randrange(len(lines))] = list(r.choice(lines))
        else:
            line[0] = r.choice(("nan", "-1", "1e9", "9" * 5000, "٣", ""))
    return r.choice(("\n", "\r\n", "\r")).join(",".join(line) for line in lines).encode()


def in_toml(good: bytes, r: random.Random) -> bytes:
    """A line of the file."""
    if r.random() < 0.05:
        return r.choice(
            (b"a=" + b"[" * 50_000, b"a." * 20_000 + b"b=1", b"[[a]]\n" * 99, b"a=1979-13-01")
        )
    lines = good.decode().splitlines()
    at = r.randrange(len(lines))
    key = lines[at].partition("=")[0]
    value = json.dumps(_other(1, r), ensure_ascii=True).replace("null", '"null"')
    others = (
        f"{key}={value}",
        "[x]",
        "",
        r.choice(lines),
        f"{key}.x=1",
        f"{lines[at]}\n{lines[at]}",
    )
    lines[at] = r.choice(others)
    return "\n".join(lines).encode()


def in_zip(good: bytes, r: random.Random, packed: bool = True) -> bytes:
    """A member's content, name or presence; all checksums are right again.

    Args:
        good: The file.
        r: Draws the change.
        packed: Whether some members are compressed, whatever they were.
    """
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) if packed else (zipfile.ZIP_STORED,)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = r.choice(names)
        kind = r.randrange(6)
        for name in names:
            content = old.read(name)
            if name == chosen and kind == 0:
                continue
            if name == chosen and kind == 1:
                name = r.choice((name + "x", "x/" + name, "../" + name, "inputs.npy"))
            elif name == chosen and _is_json(content):
                content = in_json(content, r)
            elif name == chosen and content[:6] == b"\x93NUMPY" and kind < 5:
                content = (_in_npy if r.random() < 0.5 else _other_array)(content, r)
            elif name == chosen:
                content = in_bytes(content, r)
            new.writestr(name, content, r.choice(methods))
    return out.getvalue()


def _is_json(content: bytes) -> bool:
    """Whether a member is JSON; the first byte of a number in float32 may be a bracket, too."""
    try:
        return isinstance(json.loads(content), dict | list)
    except (ValueError, RecursionError):
        return False


def in_stored_zip(good: bytes, r: random.Random) -> bytes:
    """As `in_zip`, for a reader whose first look is at what is compressed, and then at nothing."""
    return in_zip(good, r, packed=False)


def _in_npy(content: bytes, r: random.Random) -> bytes:
    """Another shape or type, whatever the data say."""
    shape = tuple(r.choice((0, 1, 3, 6, 1 << 20, 1 << 40, -1)) for _ in range(r.randrange(6)))
    dtype = r.choice(("<f4", "|u1", "<i8", "|O", "<U9", "|V3", "<c8", "<f2", ">i4", "<M8[s]"))
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    if r.random() < 0.3:
        header = r.choice(("{}", "(" * 200, header + " or 1", "{'descr': 3}", "\xff" * 9))
    said = header.ljust(118).encode("latin1")
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(said)) + said + content[128:]


def _other_array(content: bytes, r: random.Random) -> bytes:
    """A whole array that is not the one: other values, shape or type, and a header that says so."""
    old = np.atleast_1d(np.load(io.BytesIO(content)))
    if old.dtype.kind not in "biuf":
        old = np.arange(3)
    flat = old.ravel()
    full = np.array(r.choice(NUMBERS), "i8")
    with np.errstate(all="ignore"):
        other = r.choice(
            (
                old[..., :0],
                old[None],
                old.T,
                flat,
                flat[:-1],
                np.append(flat, flat),
                flat[:1].reshape(()) if old.size else full,
                old[::-1],
                np.full_like(old, full.astype(old.dtype)),
                old.astype(r.choice(("?", "i1", "u1", ">i4", "i8", "f2", "f8", "c8", "U3", "S2"))),
                np.full(old.shape, r.choice((np.nan, np.inf, 0.5, 1e300))),
            )
        )
    out = io.BytesIO()
    np.save(out, other, allow_pickle=False)
    return out.getvalue()


def in_hdf5(good: bytes, r: random.Random) -> bytes:
    """A data set's values, type or shape; a name; a link."""
    file = io.BytesIO(good)
    with h5py.File(file, "r+") as root:
        names: list[str] = []
        root.visit(names.append)
        for _ in range(r.choice((1, 1, 2))):
            name = r.choice(names)
            try:
                if root.get(name, getlink=True) is None:
                    continue
                old = root[name]
            except (KeyError, RuntimeError):  # a link that leads nowhere, or to itself
                continue
            kind = r.randrange(6)
            if kind == 0 or not isinstance(old, h5py.Dataset):
                del root[name]
                if kind == 1:
                    root[name] = h5py.SoftLink("/" + r.choice(names))
                elif kind == 2:
                    root[name] = h5py.ExternalLink("/etc/hostname", "/")
                elif kind == 3:
                    root.create_dataset(name, data=np.float32(1))
            else:
                del root[name]
                root.create_dataset(
                    name,
                    data=r.choice(
                        (
                            np.zeros(
                                r.choice((0, 1, 7, (2, 3), (1, 1, 1, 9))),
                                r.choice(("f4", "i8", "u1")),
                            ),
                            np.array([np.nan, np.inf]),
                            np.int64(r.choice(NUMBERS)),
                            b"text",
                            "Ünïcode",
                            np.array([b"a", b"b"], dtype="S9"),
                            np.float64(r.choice((1e300, -1.0, 0.0))),
                        ),
                    ),
                )
    return file.getvalue()


def in_onnx(good: bytes, r: random.Random) -> bytes:
    """A node, an attribute, a tensor, its values or a shape of the model."""
    model = onnx.load_from_string(good)
    graph = model.graph
    for _ in range(r.choice((1, 1, 2, 3))):
        kind = r.randrange(9)
        node = r.choice(graph.node) if graph.node else None
        tensor = r.choice(graph.initializer) if graph.initializer else None
        if kind == 0 and node is not None:
            graph.node.remove(node)
        elif kind == 1 and node is not None:
            graph.node.append(node)
        elif kind == 2 and node is not None:
            node.op_type = r.choice(
                ("Conv", "Gemm", "Add", "Loop", "If", "Xyz", "", "Clip", "Cast")
            )
        elif kind == 3 and node is not None and node.input:
            node.input[r.randrange(len(node.input))] = r.choice(
                ("", "x", *(n.name for n in graph.initializer), *node.output)
            )
        elif kind == 4 and tensor is not None:
            tensor.dims[:] = [r.choice((0, 1, 3, -1, 1 << 40)) for _ in range(r.randrange(5))]
        elif kind == 5 and tensor is not None:
            tensor.data_type = r.choice((0, 1, 6, 7, 8, 10, 16, 99))
        elif kind == 6 and node is not None and node.attribute:
            attribute = r.choice(node.attribute)
            attribute.i = r.choice(NUMBERS)
            attribute.type = r.choice((1, 2, 3, 6, 7))
        elif kind == 7 and tensor is not None and tensor.raw_data:
            raw = bytearray(tensor.raw_data)
            at = r.randrange(len(raw))
            raw[at] = r.choice((0, 1, 0x7F, 0x80, 255, raw[at] ^ 1 << r.randrange(8)))
            tensor.raw_data = bytes(raw)
        elif graph.input:
            shape = r.choice(graph.input).type.tensor_type.shape
            if shape.dim:
                r.choice(shape.dim).dim_value = r.choice((0, -1, 1 << 40, 7))
    return model.SerializeToString()


def in_safetensors(good: bytes, r: random.Random) -> bytes:
    """The header, which says where each tensor lies."""
    length = int.from_bytes(good[:8], "little")
    header = in_json(good[8 : 8 + length], r)
    said = r.choice((len(header), len(header), len(header), r.choice(NUMBERS) & ((1 << 64) - 1)))
    return said.to_bytes(8, "little") + header + good[8 + length :]
