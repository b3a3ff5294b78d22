"""What the attributes of convolutions and pools say of their windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from purespike.compiler.ir.ops.synapse import Pair
from purespike.targets.onnx.body import OnnxError


def need(holds: bool, message: str, found: Any, allowed: str) -> None:
    """Raise OnnxError unless it holds."""
    if not holds:
        raise OnnxError(message, found=str(found), allowed=allowed)


def pair(x: Sequence[int]) -> Pair:
    """Two numbers, for height and width."""
    need(len(x) == 2, "not a layer of two dimensions", x, "two numbers: convolutions and pools 2-D")
    return int(x[0]), int(x[1])


def padding(a: dict[str, Any]) -> Pair:
    """The padding that attributes say, the same on both sides."""
    auto = a.get("auto_pad", b"NOTSET")
    need(auto in (b"NOTSET", b"VALID"), "padding that is left to the runtime", auto, "pads")
    pads = a.get("pads") or [0, 0, 0, 0]
    need(len(pads) == 4, "not a layer of two dimensions", pads, "four pads")
    need(list(pads[:2]) == list(pads[2:]), "padding on one side", pads, "the same on both sides")
    need(auto == b"NOTSET" or not any(pads), "padding beside auto_pad VALID", pads, "no pads")
    return int(pads[0]), int(pads[1])


def positive(*pairs: Pair) -> None:
    """Raise OnnxError unless all numbers are above 0."""
    need(all(n > 0 for p in pairs for n in p), "a stride or window of 0", pairs, "1 and more")
