"""What each operation of an exported program is as a module, and why the others are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from purespike.trainer.capture.archive import Call
from purespike.trainer.capture.conversions import CaptureError
from purespike.trainer.nn import gates, layers
from purespike.trainer.nn.neuron import Neuron

__all__ = ["OPERATIONS", "SAID", "Form", "Known", "reason", "refuse_comparison", "refused"]

Form = Literal["sequence", "merged", "mean"]  # (T, B, ...), (T B, ...), (B, ...)

_COMPARISONS = ("ge", "gt", "le", "lt", "heaviside", "sign")
_STEPS = ("select", "unbind", "stack", "split", "split_with_sizes", "chunk", "slice")
SAID: dict[str, str] = {
    "sequence": "a sequence (T, B, ...)",
    "merged": "steps merged with samples (T B, ...)",
    "mean": "a mean over time (B, ...)",
}


@dataclass(frozen=True)
class Known:
    """How an operation becomes a module.

    Attributes:
        kind: Its name where it is not a module of its own in the program.
        make: Of the call, the sizes of what it takes and its other arguments, what makes it.
        values: Its arguments that are values of the network, in the order of the module's.
        forms: In which they may be.
    """

    kind: str
    make: Callable[[Call, tuple[int, ...], Mapping[str, Any]], Callable[[], nn.Module]]
    values: tuple[str, ...]
    forms: tuple[Form, ...] = ("sequence", "merged", "mean")


def refused(call: Call, why: str, remedy: str = "") -> CaptureError:
    """The error that names the node of a call, its module, and why it has no meaning."""
    return CaptureError(
        f"the compiler has no operation for {call.target} here: {why}",
        where=call.path or "the model's forward",
        found=f"node {call.name}" + (f" of {call.kind}" if call.kind else ""),
        allowed=", ".join(sorted(OPERATIONS)),
        remedy=remedy or "express it with layers, neurons and gates of purespike.trainer",
    )


def _operator(call: Call) -> str:
    """``conv2d`` of ``aten.conv2d.default``."""
    return call.target.partition(".")[2].partition(".")[0]


def refuse_comparison(call: Call) -> None:
    """Raise CaptureError if a call is the firing step of a neuron that is no longer a neuron."""
    if _operator(call) in _COMPARISONS:
        raise refused(
            call,
            "a comparison with a threshold outside of purespike::neuron; which tensor is the "
            "membrane, and what a spike does to it, is not said",
            "export a module with neurons of purespike.trainer, or give the module itself as "
            "package.module:name (see Imported for other frameworks)",
        )


def reason(call: Call) -> tuple[str, str]:
    """Why an unknown operation is refused, and what to do."""
    name = _operator(call)
    if name in _STEPS:
        return "it takes single steps or parts out of a sequence, or puts them together", (
            "leave time to the neurons: layers and neurons of purespike.trainer take (T, B, ...)"
        )
    if name.endswith("_"):
        return "it changes a tensor in place", "write a = a + b, which makes a new tensor"
    if name in ("convolution", "addmm", "permute", "t", "_native_batch_norm_legit_no_training"):
        return "the program was decomposed", "save it before run_decompositions()"
    return "it is not known", ""


def _need(holds: bool, call: Call, what: str, remedy: str = "") -> None:
    if not holds:
        raise refused(call, what, remedy)


def _images(call: Call, sizes: tuple[int, ...]) -> None:
    _need(len(sizes) == 4, call, f"it meets {sizes}", "give it images, (T B, C, H, W)")


def _weights(module: nn.Module, **tensors: Tensor | None) -> nn.Module:
    for name, tensor in tensors.items():
        if tensor is not None and name in module._buffers:
            module.register_buffer(name, tensor)
        else:
            kept = None if tensor is None else nn.Parameter(tensor)
            module.register_parameter(name, kept)
    return module


def _pair(value: Any) -> tuple[int, int]:
    items = [value] if isinstance(value, int) else list(value)
    return (int(items[0]), int(items[-1]))


def _conv(call: Call, sizes: tuple[int, ...], o: Mapping[str, Any]) -> Callable[[], nn.Module]:
    weight: Tensor = o["weight"]
    _images(call, sizes)
    padding = o.get("padding", [0, 0])
    groups = int(o.get("groups", 1))
    return lambda: _weights(
        layers.Conv2d(
            weight.shape[1] * groups,
            weight.shape[0],
            _pair(weight.shape[2:]),
            stride=_pair(o.get("stride", [1])),
            padding=padding if isinstance(padding, str) else _pair(padding),
            dilation=_pair(o.get("dilation", [1])),
            groups=groups,
            bias=o.get("bias") is not None,
            device="meta",
        ),
        weight=weight,
        bias=o.get("bias"),
    )


def _linear(call: Call, sizes: tuple[int, ...], o: Mapping[str, Any]) -> Callable[[], nn.Module]:
    weight: Tensor = o["weight"]
    features = (weight.shape[1], weight.shape[0])
    return lambda: _weights(
        nn.Linear(*features, bias=o.get("bias") is not None, device="meta"),
        weight=weight,
        bias=o.get("bias"),
    )


def _norm(call: Call, sizes: tuple[int, ...], o: Mapping[str, Any]) -> Callable[[], nn.Module]:
    _images(call, sizes)
    _need(not o["training"], call, "it takes its statistics from the batch", "model.eval() first")
    mean, variance = o.get("running_mean"), o.get("running_var")
    if mean is None or variance is None:
        raise refused(call, "it has no running statistics")
    weight, bias = o.get("weight"), o.get("bias")
    return lambda: _weights(
        layers.BatchNorm2d(len(mean), eps=o["eps"]),
        weight=torch.ones_like(mean) if weight is None else weight,
        bias=torch.zeros_like(mean) if bias is None else bias,
        running_mean=mean,
        running_var=variance,
    )


def _avg(call: Call, sizes: tuple[int, ...], o: Mapping[str, Any]) -> Callable[[], nn.Module]:
    _images(call, sizes)
    return lambda: layers.AvgPool2d(
        _pair(o["kernel_size"]),
        _pair(o.get("stride") or o["kernel_size"]),
        _pair(o.get("padding", 0)),
        o.get("ceil_mode", False),
        o.get("count_include_pad", True),
        o.get("divisor_override"),
    )


def _max(call: Call, sizes: tuple[int, ...], o: Mapping[str, Any]) -> Callable[[], nn.Module]:
    _images(call, sizes)
    return lambda: layers.MaxPool2d(
        _pair(o["kernel_size"]),
        _pair(o.get("stride") or o["kernel_size"]),
        _pair(o.get("padding", 0)),
        _pair(o.get("dilation", 1)),
        False,
        o.get("ceil_mode", False),
    )


def _adaptive(
    pool: type[layers.AvgPool2d] | type[layers.MaxPool2d],
) -> Callable[[Call, tuple[int, ...], Mapping[str, Any]], Callable[[], nn.Module]]:
    def make(call: Call, sizes: tuple[int, ...], o: Mapping[str, Any]) -> Callable[[], nn.Module]:
        _images(call, sizes)
        size, target = sizes[-2:], _pair(o["output_size"])
        whole = all(t > 0 and n % t == 0 for n, t in zip(size, target, strict=True))
        _need(whole, call, f"windows of different sizes: {size} to {target}")
        kernel = (size[0] // target[0], size[1] // target[1])
        return lambda: pool(kernel, kernel)

    return make


def _mean(call: Call, sizes: tuple[int, ...], o: Mapping[str, Any]) -> Callable[[], nn.Module]:
    over_time = o.get("dim") == [0] and not o.get("keepdim") and o.get("dtype") is None
    _need(over_time, call, f"a mean over {o.get('dim')}", "mean(0), or GlobalAvgPool2d")
    return layers.TimeMean


def _add(call: Call, sizes: tuple[int, ...], o: Mapping[str, Any]) -> Callable[[], nn.Module]:
    _need(o.get("alpha", 1) == 1, call, f"a sum with alpha {o.get('alpha')}")
    return gates.Add


def _relu(call: Call, sizes: tuple[int, ...], o: Mapping[str, Any]) -> Callable[[], nn.Module]:
    return nn.ReLU


def _gate(call: Call, sizes: tuple[int, ...], o: Mapping[str, Any]) -> Callable[[], nn.Module]:
    _need(o["kind"] in gates.GATES, call, f"a gate {o['kind']!r}")
    return gates.GATES[o["kind"]]


def _neuron(call: Call, sizes: tuple[int, ...], o: Mapping[str, Any]) -> Callable[[], nn.Module]:
    learned = {"decay": o["learned_decay"], "input_scale": o["learned_scale"]}
    constants = {k: o[k] if v is None else v.item() for k, v in learned.items()}
    same = ("threshold", "reset", "amount", "rectified")
    return lambda: Neuron(**constants, **{k: o[k] for k in same})


OPERATIONS: dict[str, Known] = {
    "purespike.neuron.default": Known("neuron", _neuron, ("x",), ("sequence",)),
    "purespike.gate.default": Known("gate", _gate, ("a", "s")),
    "aten.conv2d.default": Known("conv2d", _conv, ("input",), ("merged",)),
    "aten.conv2d.padding": Known("conv2d", _conv, ("input",), ("merged",)),
    "aten.linear.default": Known("linear", _linear, ("input",)),
    "aten.batch_norm.default": Known("batch_norm", _norm, ("input",), ("merged",)),
    "aten.avg_pool2d.default": Known("avg_pool2d", _avg, ("self",), ("merged",)),
    "aten.max_pool2d.default": Known("max_pool2d", _max, ("self",), ("merged",)),
    "aten.adaptive_avg_pool2d.default": Known(
        "avg_pool2d", _adaptive(layers.AvgPool2d), ("self",), ("merged",)
    ),
    "aten.adaptive_max_pool2d.default": Known(
        "max_pool2d", _adaptive(layers.MaxPool2d), ("self",), ("merged",)
    ),
    "aten.relu.default": Known("relu", _relu, ("self",)),
    "aten.add.Tensor": Known("add", _add, ("self", "other")),
    "aten.mean.dim": Known("mean", _mean, ("self",), ("sequence",)),
}
