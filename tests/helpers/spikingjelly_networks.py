"""Every constructor of spikingjelly.activation_based.model: captured, or what is in the way.

``python tests/helpers/spikingjelly_networks.py`` writes the table of docs/inputs.md anew.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import nn

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import SYNAPSES, MaxPool2d
from purespike.compiler.passes.fold_constants import fold_constants
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales
from purespike.compiler.passes.fuse_batchnorm import fuse_batchnorm
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.trace import Capture, capture

DOCS = Path(__file__).parents[2] / "docs" / "inputs.md"
BEGIN, END = "<!-- networks: begin -->", "<!-- networks: end -->"
STEPS = 4


@dataclass(frozen=True)
class Network:
    """One constructor, small enough for a test.

    Attributes:
        of: Its module in spikingjelly.activation_based.model.
        make: The network.
        shape: Of one sample at one step.
        takes: As `Imported` has it.
        steps: T.
    """

    of: str
    make: Callable[[Any], nn.Module]
    shape: tuple[int, ...]
    takes: Any = None
    steps: int = STEPS


def node(**given: Any) -> nn.Module:
    """The neuron of the constructors that are given one."""
    from spikingjelly.activation_based import neuron

    return neuron.LIFNode(tau=2.0, v_threshold=0.3, step_mode=given.get("step_mode", "s"))


def online(**_: Any) -> nn.Module:
    """The neuron of online training through time."""
    from spikingjelly.activation_based import neuron

    return neuron.OTTTLIFNode(tau=2.0, v_threshold=0.3)


def _m(net: nn.Module) -> nn.Module:
    from spikingjelly.activation_based import functional

    functional.set_step_mode(net, "m")
    return net


def _plif(name: str, *shape: int) -> Network:
    return Network("parametric_lif_net", lambda of: _m(getattr(of, name)(4, node)), (*shape,))


_SEARCHED = SimpleNamespace(
    fea_num_layers=8, fea_filter_multiplier=4, fea_block_multiplier=3, fea_step=3, step=3,
    auxiliary=False,
)  # fmt: skip


def _snas(cell: str) -> Network:
    options = SimpleNamespace(
        dataset="cifar10", timestep=STEPS, tau=4 / 3, threshold=1.0, celltype=cell,
        second_avgpooling=2,
    )  # fmt: skip
    ones = torch.ones(4, 4, dtype=torch.long)
    return Network("snas_net", lambda of: of.SNASNet(options, ones), (3, 32, 32), "frame")


def _sew(of: Any) -> nn.Module:
    return _m(of.sew_resnet18(spiking_neuron=node, cnf="IAND", num_classes=5))


def _vgg(of: Any) -> nn.Module:
    options = {"num_classes": 5, "spiking_neuron": node, "init_weights": False}
    net = of.SpikingVGG([4, "M", 8, "M"], True, **options)
    for k in (0, 3, 6):  # 8 maps and 16 features in the place of 512 and 4096
        old = net.classifier[k]
        wide = (8 * 49 if k == 0 else 16, 5 if k == 6 else 16)
        net.classifier[k] = type(old)(*wide)
    return _m(net)


_MS: dict[str, Any] = {"T": STEPS, "layers": (1, 1, 1, 1), "base_channels": 4, "num_classes": 5}
_SHALLOW: dict[str, Any] = {"layers": (1, 1, 1), "base_channels": 4, "spiking_neuron": node}
_SMALL: dict[str, Any] = {"T": STEPS, "num_classes": 5, "spiking_neuron": node}
_QK = _SMALL | {"embed_dims": 16, "num_heads": (2, 2, 2), "mlp_ratio": 2.0}
_SDT = _SMALL | {"embed_dims": 16, "num_heads": 2, "depths": 1, "mlp_ratio": 2.0}
_MAX = _SMALL | {"embed_dims": 32, "mlp_ratio": 2.0}
NETWORKS: dict[str, Network] = {
    "MNISTNet": _plif("MNISTNet", 1, 28, 28),
    "FashionMNISTNet": _plif("FashionMNISTNet", 1, 28, 28),
    "NMNISTNet": _plif("NMNISTNet", 2, 34, 34),
    "CIFAR10Net": _plif("CIFAR10Net", 3, 32, 32),
    "CIFAR10DVSNet": _plif("CIFAR10DVSNet", 2, 128, 128),
    "DVSGestureNet": _plif("DVSGestureNet", 2, 128, 128),
    "spiking_resnet": Network(
        "spiking_resnet",
        lambda of: _m(of.spiking_resnet18(spiking_neuron=node, num_classes=5)), (3, 32, 32)),
    "sew_resnet": Network("sew_resnet", _sew, (3, 32, 32)),
    "spiking_vgg": Network("spiking_vgg", _vgg, (3, 28, 28)),
    "ottt_spiking_vggws": Network(
        "spiking_vggws_ottt",
        lambda of: of.OTTTSpikingVGG([4, "A", 512], num_classes=5, spiking_neuron=online),
        (3, 16, 16)),
    "MSResNet": Network(
        "ms_resnet", lambda of: of.MSResNet(**_MS, spiking_neuron=node), (3, 32, 32)),
    "MaxResNet": Network(
        "ms_resnet", lambda of: of.MaxResNet(**_SHALLOW, T=STEPS), (3, 32, 32)),
    "MaxResNet (T = 1)": Network(
        "ms_resnet", lambda of: of.MaxResNet(**_SHALLOW, T=1), (3, 32, 32), None, 1),
    "MASNN": Network(
        "masnn",
        lambda of: of.MASNN(T=STEPS, reduction_t=2, reduction_c=4, channels=(8, 8, 8)),
        (2, 32, 32)),
    "AttMSResNet": Network("masnn", lambda of: of.AttMSResNet(T=STEPS), (3, 64, 64)),
    "Spikformer": Network(
        "spikformer",
        lambda of: of.Spikformer(
            **_SMALL, img_size_h=16, img_size_w=16, patch_size=4, embed_dims=16, num_heads=2,
            mlp_ratio=2, depths=1),
        (3, 16, 16)),
    "QKFormer": Network("qkformer", lambda of: of.QKFormer(**_QK, depths=(1, 1, 1)), (3, 32, 32)),
    "QKFormer (depths 1, 1, 0)": Network(
        "qkformer", lambda of: of.QKFormer(**_QK, depths=(1, 1, 0)), (3, 32, 32)),
    "QKFormer (depths 1, 1, 0, channel)": Network(
        "qkformer", lambda of: of.QKFormer(**_QK, depths=(1, 1, 0), qka_type="channel"),
        (3, 32, 32)),
    "SpikeDrivenTransformer": Network(
        "spike_driven_transformer", lambda of: of.SpikeDrivenTransformer(**_SDT), (3, 32, 32)),
    "SpikeDrivenTransformer (pooling_stat 1110)": Network(
        "spike_driven_transformer",
        lambda of: of.SpikeDrivenTransformer(**_SDT, pooling_stat="1110"), (3, 16, 16)),
    "MaxFormer": Network(
        "maxformer", lambda of: of.MaxFormer(**_MAX, depths=(1, 1, 1)), (3, 32, 32)),
    "MaxFormer (depths 1, 1, 0)": Network(
        "maxformer", lambda of: of.MaxFormer(**_MAX, depths=(1, 1, 0)), (3, 32, 32)),
    "MaxFormer (cifar)": Network(
        "maxformer", lambda of: of.MaxFormer(**_MAX, depths=(1, 1, 1), cifar=True), (3, 16, 16)),
    "SNASNet (forward cells)": _snas("forward"),
    "SNASNet (backward cells)": _snas("backward"),
    "SpikeDHS": Network(
        "spike_dhs", lambda of: _m(of.SpikeDHS(args=_SEARCHED)), (3, 32, 32), "frame", 6),
}  # fmt: skip


def made(name: str) -> Imported:
    """A network in float64 with lively spikes, as `Imported`."""
    network = NETWORKS[name]
    torch.manual_seed(0)
    model = network.make(_module(network.of))
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm):
            nn.init.uniform_(m.running_var, 0.2, 0.5)
            nn.init.normal_(m.bias, 0.3, 0.1)
            nn.init.uniform_(m.weight, 0.5, 1.0)
    return Imported(model.double().eval(), network.takes)


def _module(name: str) -> Any:
    """Its ResNets and VGGs take torch's download function from torchvision, which is not needed."""
    part = "torchvision._internally_replaced_utils"
    try:
        importlib.import_module(part)
    except ModuleNotFoundError:
        stub: Any = ModuleType(part)
        stub.load_state_dict_from_url = None
        sys.modules |= {"torchvision": ModuleType("torchvision"), part: stub}
    try:
        return importlib.import_module(f"spikingjelly.activation_based.model.{name}")
    finally:
        if getattr(sys.modules[part], "load_state_dict_from_url", 0) is None:
            del sys.modules["torchvision"], sys.modules[part]


@cache
def captured(name: str) -> Capture | PurespikeError:
    """Its graph, or what refuses it."""
    try:
        return capture(made(name), NETWORKS[name].shape, NETWORKS[name].steps)
    except PurespikeError as e:
        return e


def in_the_way(graph: Graph) -> list[str]:
    """What no rewrite takes from between spikes, by module: maxima of currents, counts weighed."""
    for rewrite in (fuse_batchnorm, fold_scales, fold_constants, lower_gates):
        graph = rewrite(graph)
    maxima = [n for n in graph.nodes if isinstance(n.op, MaxPool2d)]
    weighed = [
        n
        for n in graph.nodes
        if isinstance(n.op, SYNAPSES) and not graph.edge(n.inputs[0]).domain <= SPIKE
    ]
    behind = {m.name for m in maxima}
    sums = [n for n in weighed if n.inputs[0] not in behind]
    kinds = {
        "maxima of currents in front of neurons with memory": maxima,
        "sums of spikes (ADD) that a layer weighs": sums,
    }
    said = []
    for what, nodes in kinds.items():
        places = dict.fromkeys(f"`{graph.origin(n.name)}`" for n in nodes)
        said += [f"{what} at {', '.join(places)}"] if nodes else []
    return said


def table() -> str:
    """One row for each constructor."""
    lines = ["| constructor | outcome |", "|---|---|"]
    exact, kept, refused = [], [], []
    for name in NETWORKS:
        found = captured(name)
        if not isinstance(found, PurespikeError):
            left = in_the_way(found.graph)
            if left:
                kept.append(f"| {name} | exact; not spike-only: {'; '.join(left)} |")
            else:
                exact.append(name)
            continue
        where = found.where.partition(" (module")[0].lstrip("%")
        products = "multiplies what" in found.message
        said = f" ({found.found})".replace("|", "\\|") if products else ""
        refused.append(f"| {name} | refused at `{where}`: {found.message}{said}. {found.remedy} |")
    return "\n".join([*lines, f"| {', '.join(exact)} | exact, spike-only |", *kept, *refused])


def main() -> None:
    """Write the table into docs/inputs.md."""
    head, rest = DOCS.read_text().split(BEGIN)
    DOCS.write_text(f"{head}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}")


if __name__ == "__main__":
    main()
