"""Reading a golden model back, without trusting the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnx import ModelProto, checker

from purespike.compiler.files.reading import read_bytes
from purespike.targets.onnx.body import OnnxError
from purespike.targets.onnx.inspect import external, operators
from purespike.targets.onnx.metadata import IR_VERSION, OPSET, content_hash, metadata

MAX_BYTES = 2**30
"""Far above any golden model (a 15-layer residual network takes 0.3 MB)."""

OPERATORS = frozenset(
    (
        "Abs",
        "Add",
        "And",
        "Cast",
        "Clip",
        "ConvInteger",
        "Div",
        "Flatten",
        "GreaterOrEqual",
        "Identity",
        "MatMulInteger",
        "MaxPool",
        "Mul",
        "Not",
        "Or",
        "Pad",
        "Scan",
        "Sign",
        "Sub",
        "Where",
        "Xor",
    )
)
"""All that this target writes; nothing here can loop without end or read another file."""


def read_onnx(path: str | Path) -> ModelProto:
    """Read a file that :func:`write_onnx` made and check that it is still that file.

    Raises:
        OnnxError: If it cannot be read, is too large, refers to other files, holds operators that
            this target never writes, is not valid ONNX, or differs from what was written (its
            SHA-256).
    """
    where, model = str(path), parse_onnx(path)
    versions = model.ir_version, [(o.domain, o.version) for o in model.opset_import]
    if versions != (IR_VERSION, [("", OPSET)]):
        raise OnnxError(
            "the file has other versions than this target writes",
            where=where,
            found=f"IR {versions[0]}, operator sets {versions[1]}",
            allowed=f"IR {IR_VERSION}, operator set {OPSET}",
        )
    if strange := sorted(set(operators(model)) - OPERATORS):
        raise OnnxError(
            "the file holds operators that this target never writes",
            where=where,
            found=", ".join(strange),
        )
    if len(model.functions) or any(external(model.graph)):
        raise OnnxError("the file refers to functions or to other files", where=where)
    if metadata(model)["content_sha256"] != content_hash(model):
        raise OnnxError(
            "the file was changed after it was written: its SHA-256 differs",
            where=where,
            remedy="write it anew",
        )
    try:
        checker.check_model(model, full_check=True)
    except Exception as e:  # the checker raises several unrelated types
        raise OnnxError("the file is not valid ONNX", where=where, found=str(e)) from None
    return model


def parse_onnx(path: str | Path) -> ModelProto:
    """Any ONNX file as it stands, unchecked; no other file is opened.

    Raises:
        OnnxError: If it cannot be read, is too large, or no ONNX model.
    """
    path, where = Path(path), str(path)
    try:
        content = read_bytes(path, MAX_BYTES, OnnxError, "the file")
    except OSError as e:
        raise OnnxError("the file cannot be read", where=where, found=str(e)) from None
    model = ModelProto()
    try:
        model.ParseFromString(content)
    except Exception:  # protobuf's DecodeError, whose package has no types
        raise OnnxError("the file is not an ONNX model", where=where) from None
    if broken := next(_no_texts(model), ""):
        raise OnnxError(
            "a name in the ONNX file is not a text", where=where, found=f"{broken}: no UTF-8"
        )
    return model


def _no_texts(message: Any) -> Iterator[str]:
    """The fields of a message, and of those in it, that should be texts and are no UTF-8.

    Protobuf hands these over as bytes, where everyone expects a str.
    """
    for field, value in message.ListFields():
        if field.type not in (field.TYPE_STRING, field.TYPE_MESSAGE):
            continue
        for one in (
            [value] if hasattr(value, "ListFields") or isinstance(value, str | bytes) else value
        ):
            if isinstance(one, bytes):
                yield field.full_name
            elif hasattr(one, "ListFields"):
                yield from _no_texts(one)
