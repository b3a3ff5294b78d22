"""The fields of one netx layer as operations of the graph; what they cannot say is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from purespike.compiler.ir.domain import SPIKE, Domain
from purespike.compiler.ir.graph import Edge, Shape
from purespike.compiler.ir.ops import Conv2d, Linear, Neuron
from purespike.compiler.ir.ops.synapse import Pair
from purespike.targets.netx.document import DECAY, NEVER, Fields
from purespike.targets.netx.errors import NetxFileError
from purespike.targets.netx.synapse import survives
from purespike.targets.spec import LOIHI2

LARGEST = 1 << 26  # values that a layer may send
_READ = {
    "input": {"type", "shape", "weight", "bias"},
    "flatten": {"type", "shape"},
    "dense": {"type", "shape", "weight", "bias"},
    "conv": {"type", "shape", "weight", "bias", "stride", "padding", "dilation", "groups"},
}
# netx does not use these, or they only repeat what is said elsewhere.
_IGNORED = {"inChannels", "outChannels", "kernelSize", "inFeatures", "outFeatures"}
_LATE = {"dense": {"delay"}, "conv": {"delay"}}  # `delays` reads it
# netx uses the first four, and the others do nothing: theta is 64 vThMant, rho is the surrogate.
_NEURON = {"type", "iDecay", "vDecay", "vThMant", "gradedSpike"}
_NEURON |= {"refDelay", "wgtExp", "theta", "tauRho", "scaleRho"}
_LOIHI = ("LOIHI", "CUBA")
# Why a layer or a neuron is refused that lava-dl does have.
_OTHER_LAYERS = {
    "dense_rec": "recurrent",
    "dense_comp": "complex weights",
    **dict.fromkeys(
        ("pool", "convT", "unpool", "average", "concat"), "netx itself does not run it"
    ),
}
_INSTEAD = {
    "average": "leave the layer out of the file, and average its spikes on the host",
    "pool": "train a convolution with a stride in its place",
}
_OTHER_NEURONS = {"SDNN": "sigma-delta: it sends graded values, not spikes"}


def check_fields(layer: Fields, kind: str, where: str) -> None:
    """Refuse a layer of another kind, and what a layer says beyond what is read.

    Raises:
        NetxFileError: With what the graph cannot say.
    """
    if kind not in _READ:
        raise NetxFileError(
            "netx cannot run this layer, or purespike cannot say it",
            where=where,
            found=_because(kind, _OTHER_LAYERS) if kind else "a block that does not say its type",
            allowed=", ".join(_READ),
            remedy=_INSTEAD.get(kind, "train with conv and dense blocks of SLAYER's cuba neurons"),
        )
    neuron_type = str(layer.get("neuron/type", _LOIHI[0]))
    if neuron_type not in _LOIHI:
        raise NetxFileError(
            "a neuron that the graph does not have",
            where=where,
            found=_because(neuron_type, _OTHER_NEURONS),
            allowed=", ".join(_LOIHI),
            remedy="train with slayer.block.cuba, whose neurons send spikes",
        )
    fields = {k for k in layer if not k.startswith("neuron/")}
    neuron = {k.removeprefix("neuron/") for k in layer if k.startswith("neuron/")}
    unknown = sorted(fields - _READ[kind] - _IGNORED - _LATE.get(kind, set())) + sorted(
        neuron - _NEURON
    )
    if unknown:
        raise NetxFileError(
            "the graph cannot say all of this layer",
            where=where,
            found=", ".join(unknown),
            allowed=", ".join(sorted(_READ[kind] | {f"neuron/{k}" for k in _NEURON})),
        )


def _because(name: str, reasons: Mapping[str, str]) -> str:
    return f"{name} ({reasons[name]})" if name in reasons else name


def read_source(layer: Fields, where: str) -> tuple[Edge, bool]:
    """What goes into the network, and whether the first layer encodes it as spikes.

    An input layer without a neuron takes spikes. The neurons of one with a neuron take no spikes:
    netx drives them through ``bias_mant``, a whole number of 13 bits for each. The layer's
    ``weight`` and ``bias`` say how data becomes that number; netx leaves that to who runs it.

    Raises:
        NetxFileError: If this is not an input layer.
    """
    encodes = "neuron/type" in layer
    if layer.get("type") != "input" or "shape" not in layer:
        raise NetxFileError(
            "the first layer must be an input with a shape",
            where=where,
            found=", ".join(sorted(layer)),
        )
    check_fields(layer, "input", where)
    if encodes:
        for name in {"weight", "bias"} & layer.keys():
            number(layer, name)
    elif {"weight", "bias"} & layer.keys():
        raise NetxFileError(
            "an input of spikes has no weight or bias", where=where, found=", ".join(sorted(layer))
        )
    domain = Domain(-LOIHI2.bias, LOIHI2.bias, 1) if encodes else SPIKE
    return Edge("input", shape_of(layer), domain), encodes


def implied_source(
    layers: Sequence[Fields], stated: Shape | None = None, assumed: Shape | None = None
) -> Edge:
    """What goes into a network without an input block: spikes, as its first layer takes them.

    SLAYER writes no input block for what is fed spikes: a dense layer is as wide as its weights
    say. Of an image the output and a stride of 1 leave one size; a longer stride leaves several.

    Args:
        layers: Of the file; flattening in front of a dense layer changes nothing.
        stated: The shape, by the caller.
        assumed: The shape, where the file leaves it open and the caller says nothing.

    Raises:
        NetxFileError: If the first layer takes no spikes, or its size is open and not stated.
    """
    index = next((i for i, x in enumerate(layers) if x.get("type") != "flatten"), 0)
    first, where = layers[index], f"layer/{index}"
    kind = str(first.get("type"))
    if kind not in ("dense", "conv") or (kind == "conv" and index) or "weight" not in first:
        check_fields(first, kind, where)  # says better what it is
        raise NetxFileError(
            "the first layer must be an input with a shape, or a layer whose weights tell it",
            where=where,
            found=", ".join(sorted(first)),
            allowed="input, dense, conv",
        )
    synapse = read_synapse(first, kind, where)
    if isinstance(synapse, Linear):
        shape: Shape = (synapse.shape[1],)
    else:
        sizes = [_sizes(synapse, axis, out) for axis, out in enumerate(shape_of(first)[1:])]
        channels = synapse.weight.shape[1] * synapse.groups
        shape = (channels, *(min(s) for s in sizes))
        if stated is None and any(len(s) > 1 for s in sizes):
            stated = assumed
        if stated is None and any(len(s) > 1 for s in sizes):
            spans = ", ".join(f"{min(s)} to {max(s)}" for s in sizes)
            why = f"no input block, and {channels} channels of height and width {spans} fit layer/0"
            raise NetxFileError(
                "the file leaves open: shape",
                where=where,
                open={"shape": f"{why} (netx takes it as input_shape)"},
            )
        if stated is not None and stated[:1] == shape[:1] and len(stated) == 3:
            fits = all(n in s for n, s in zip(stated[1:], sizes, strict=True))
            shape = stated if fits else shape
    if stated is not None and stated != shape:
        raise NetxFileError(
            "the first layer takes another shape",
            where=where,
            found=f"{stated}",
            allowed=f"{shape}",
        )
    return Edge("input", shape, SPIKE)


def _sizes(op: Conv2d, axis: int, out: int) -> range:
    """The sizes of an image along an axis of which a convolution makes ``out`` values."""
    span = op.dilation[axis] * (op.weight.shape[2 + axis] - 1) + 1
    least = (out - 1) * op.stride[axis] + span - 2 * op.padding[axis]
    return range(max(least, 1), max(least, 1) + op.stride[axis])


def read_encoder(layer: Fields, where: str) -> Neuron:
    """The neurons of an input layer: what drives them goes to the membrane, past any current."""
    own = {k: v for k, v in layer.items() if k != "bias"}
    return read_neuron(own | {"neuron/iDecay": np.array(DECAY)}, {}, where)


def read_synapse(layer: Fields, kind: str, where: str) -> Conv2d | Linear:
    """The synapses of a layer, in whole weights.

    Raises:
        NetxFileError: If netx or Lava would run other weights or biases, or none.
    """
    weight = array(layer, "weight")
    if kind == "conv" and weight.ndim == 5 and weight.shape[4] == 1:
        weight = weight[..., 0]  # SLAYER's convolutions are 3-D over time
    if kind == "dense" and weight.ndim == 1:
        weight = weight.reshape(int(np.prod(shape_of(layer))), -1)
    whole = np.trunc(weight).astype(np.int64)  # as netx does
    if kind == "dense" and not survives(whole):
        low, high = int(whole.min(initial=0)), int(whole.max(initial=-256))
        power = 0 < -low <= 256 and -low & (-low - 1) == 0 and high <= 0
        raise NetxFileError(
            "netx and Lava would change these weights",
            where=where,
            found=f"{low} to {high}"
            + ", and netx shifts a lowest weight that is a power of two out of its bits" * power,
            allowed="both signs: -128 to 127, or even numbers of -256 to 254; one sign: up to 255; "
            "not all zero",
            remedy="take another lowest weight, such as one by 1 or 2 higher"
            if power
            else "export again with weights as SLAYER quantizes them: even numbers of -256 to 254",
        )
    bias = np.trunc(array(layer, "bias")) if "bias" in layer else None
    if bias is not None and np.abs(bias).max(initial=0) > LOIHI2.bias:
        raise NetxFileError(
            "a bias is too large",
            where=where,
            found=f"{bias.min():g} to {bias.max():g}",
            allowed=f"+-{LOIHI2.bias}",
        )
    if kind == "dense":
        return Linear(whole, bias)
    if bias is not None and bias.ndim != 1:
        raise NetxFileError(
            "a bias for each neuron", where=where, found=f"{bias.shape}", allowed="(channels,)"
        )
    stride, padding, dilation = (_pair(layer, k) for k in ("stride", "padding", "dilation"))
    if min(*stride, *dilation) < 1 or min(padding) < 0:
        raise NetxFileError(
            "impossible geometry", where=where, found=f"{stride}, {padding}, {dilation}"
        )
    groups = int(number(layer, "groups"))
    if not 1 <= groups <= len(weight):
        raise NetxFileError("an impossible number of groups", where=where, found=str(groups))
    return Conv2d(whole, bias, stride, padding, dilation, groups)


def read_neuron(
    layer: Fields, note: Mapping[str, Any], where: str, *, last: bool = False
) -> Neuron:
    """The neurons of a layer; ``note`` gives what netx has no field for.

    Raises:
        NetxFileError: If Lava would run what the graph cannot say exactly.
    """
    kind = layer.get("neuron/type")
    # Without a neuron, netx integrates (iDecay 0, vDecay 4096); a bias would not be integrated.
    if kind is None and layer["type"] == "dense" and "bias" not in layer:
        if not last:
            _mute(where, "no neuron")
        return Neuron(np.array(NEVER), reset="none", fixed=LOIHI2.fixed)
    if kind is None:
        raise NetxFileError(
            "a layer without a neuron that netx could run",
            where=where,
            found=f"{layer['type']}{', with a bias' if 'bias' in layer else ''}",
            allowed="dense, without a bias",
        )
    current, decay, vth = (number(layer, f"neuron/{k}") for k in ("iDecay", "vDecay", "vThMant"))
    if not (current.is_integer() and 1 <= current <= DECAY):  # Lava's du = iDecay - 1 has 12 bits
        raise NetxFileError(
            "iDecay is out of range",
            where=where,
            found=f"{current:g}",
            allowed=f"1 to {DECAY}: what a step takes of the current, in {DECAY}ths",
        )
    if current < DECAY and "bias" in layer and bool(array(layer, "bias").any()):
        raise NetxFileError(
            "the bias goes past a current that fades, straight to the membrane",
            where=where,
            found=f"iDecay {current:g} and a bias",
            allowed=f"iDecay {DECAY}, or no bias: the graph's biases are part of the current",
        )
    if layer.get("neuron/gradedSpike") is not None and number(layer, "neuron/gradedSpike"):
        raise NetxFileError("spikes are graded", where=where, allowed="binary spikes")
    if not (decay.is_integer() and 0 <= decay <= DECAY and vth.is_integer() and vth >= 0):
        raise NetxFileError(
            "vDecay or vThMant is out of range", where=where, found=f"{decay:g}, {vth:g}"
        )
    kept = 0.0 if note.get("memoryless") else 1 - decay / DECAY
    left = 1 - current / DECAY
    shape = tuple(int(n) for n in note.get("threshold_shape", ()))
    if "readout" in note:
        threshold = np.array([float(t) for t in note["readout"]]).reshape(shape)
        return Neuron(threshold, kept, reset="none", fixed=LOIHI2.fixed)
    if vth >= NEVER and not note:  # slayer's readout: its membrane is read, no spike comes
        if not last:
            _mute(where, f"vThMant {vth:g}")
        return Neuron(np.array(NEVER), kept, reset="none", current_decay=left, fixed=LOIHI2.fixed)
    # Lava fires on v > vth; the least that is more is a whole weight only where nothing fades.
    fades = kept not in (0.0, 1.0) or current < DECAY
    loose = np.full(shape, vth + (1 / 64 if fades else 1.0))
    return Neuron(loose, kept, current_decay=left, fixed=LOIHI2.fixed)


def _mute(where: str, found: str) -> NoReturn:
    raise NetxFileError(
        "a layer that never fires, with layers behind it",
        where=where,
        found=found,
        allowed="a readout at the end",
    )


def array(fields: Fields, name: str) -> NDArray[Any]:
    """A field that must hold numbers."""
    value = fields[name]
    if isinstance(value, str):
        raise TypeError(f"{name} is a text")
    return value


def number(fields: Fields, name: str) -> float:
    """A field that must hold one number."""
    value = array(fields, name)
    if value.size != 1:
        raise ValueError(f"{name} has {value.size} values")
    return float(value.reshape(())[()])


def _pair(fields: Fields, name: str) -> Pair:
    value = array(fields, name).reshape(-1)
    if value.size not in (1, 2):
        raise ValueError(f"{name} has {value.size} values")
    return int(value[0]), int(value[-1])


def shape_of(fields: Fields) -> Shape:
    """The shape that a layer states, (C, H, W) or (C,)."""
    shape = tuple(int(n) for n in np.atleast_1d(array(fields, "shape")))
    if not 1 <= len(shape) <= 3 or min(shape) < 1 or int(np.prod(shape)) > LARGEST:
        raise ValueError(f"shape {shape}")
    return shape
