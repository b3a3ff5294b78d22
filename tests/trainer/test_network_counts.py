"""Operation counts of the networks against the papers' tables and a second way to count."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.network_cases import CHANNELS, small, spikes
from torch import Tensor, nn

from purespike.compiler.ir.domain import Domain
from purespike.compiler.ir.interpret import run
from purespike.compiler.passes.strip_auxiliary import strip_auxiliary
from purespike.trainer.capture.trace import capture
from purespike.trainer.networks.catalogue import CATALOGUE
from purespike.trainer.networks.counts import (
    PaperCounts,
    implied_rate,
    layer_counts,
    paper_counts,
)
from purespike.trainer.networks.models import build_network
from purespike.trainer.nn.attention import AttentionMix, AttentionScores
from purespike.trainer.nn.auxiliary import auxiliary_modules

# Dense operations of one time step, in millions, from layer lists of the reference code.
DENSE = {
    "fsnn-18": 1814.08,
    "fsnn-34": 3663.76,
    "fsnn-50": 4089.18,
    "fsnn-101": 7801.41,
    "imagenet-resnet-18": 1814.08,
    "imagenet-resnet-34": 3663.76,
    "cifar-resnet-18": 555.42,
    "cifar-resnet-34": 1159.40,
    "cifar-resnet-19": 2285.25,
    "cifar-resnet-20": 215.68,
    "cifar-resnet-50": 1297.83,
    "vgg-16": 313.20,
    "7b-net": 403.68,
    "wide-7b-net": 1631.72,
    "spikformer-4-384": 934.07,
    # ResNets whose first stage halves the image too, so that it has a 1x1 convolution.
    "ms-resnet-18": 1826.92,
    "ms-resnet-34": 3676.61,
    "spike-driven-2-256": 195.92,  # the released code's layers behind poolings one layer earlier
    "qkformer-4-384": 1492.41,
    "ilif-resnet-18": 555.42,
}


def dense_in_torch(model: nn.Module, x: Tensor) -> dict[str, int]:
    """Outputs times weights of one output of each main layer and call, one step, one sample."""
    found: dict[str, int] = {}
    training_only = auxiliary_modules(model)
    steps = len(x)

    def note(name: str):
        def hook(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
            if isinstance(module, AttentionScores | AttentionMix):
                _, _, channels, height, width = inputs[-1].shape
                found[name] = channels * (height * width) ** 2
            else:
                runs = steps if out.dim() == 5 else 1
                found[name] = out.numel() // runs * module.weight[0].numel()

        return hook

    kinds = (nn.Conv2d, nn.Linear, AttentionScores, AttentionMix)
    for name, module in model.named_modules():
        if isinstance(module, kinds) and name not in training_only:
            module.register_forward_hook(note(name))
    model(x)
    return found


@pytest.mark.parametrize("name", CATALOGUE)
def test_dense_operations_of_a_step(name: str) -> None:
    assert set(DENSE) == set(CATALOGUE)
    config = CATALOGUE[name].defaults
    with torch.device("meta"):
        fixed = {"learned_tau": False}  # a learned time constant has no value on this device
        model = build_network(name, aap=False, shortcut=False, steps=1, neuron=fixed).eval()
        x = torch.zeros(1, 1, config.in_channels, *config.size)
    total = sum(dense_in_torch(model, x).values())
    assert total / 1e6 == pytest.approx(DENSE[name], abs=0.3)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cifar-resnet-20", {"width": 1 / 16}),
        ("fsnn-50", {"width": 1 / 32, "aap": False}),
        ("spikformer-4-384", {"width": 1 / 8, "aap": False}),
    ],
)
def test_the_graph_counts_what_torch_runs(name: str, options: dict[str, float]) -> None:
    model = small(name, 32, **options)
    graph = strip_auxiliary(capture(model, (CHANNELS, 32, 32), 2).graph)
    rows = {row.name: row.dense for row in layer_counts(graph)}
    assert rows == dense_in_torch(model, spikes(32, batch=1))


def counted(depth: int, kind: str) -> PaperCounts:
    """A network of the AAP paper's Table 2: fsnn, dsnn, or SEW with ADD, on 224 x 224 pixels."""
    model = build_network(
        f"fsnn-{depth}",
        seed=0,
        gate="add" if kind == "sew" else "iand",
        aap=kind != "sew",
        dsnn=kind == "dsnn",
    )
    graph = capture(model, (3, 224, 224), 4, domain=Domain(0, 1, 0)).graph
    return paper_counts(strip_auxiliary(graph))


# Full-spike AAP paper, Table 2, T = 4: G AC, G MAC, mJ. The mean firing rate is not printed; it is
# the one at which AC agrees, and MAC and energy are checked.
TABLE_2 = {
    (18, "fsnn"): (1.69, 0.12, 2.07),
    (18, "dsnn"): (1.69, 0.20, 2.44),
    (18, "sew"): (0.51, 2.75, 13.11),
    (34, "fsnn"): (3.42, 0.12, 3.63),
    (34, "dsnn"): (3.42, 0.20, 4.00),
    (34, "sew"): (0.86, 6.46, 30.50),
    (50, "fsnn"): (3.14, 0.12, 3.38),
    (50, "dsnn"): (3.20, 1.37, 9.18),
    (50, "sew"): (2.01, 5.14, 25.45),
    (101, "fsnn"): (4.42, 0.12, 4.53),
    (101, "dsnn"): (4.48, 1.37, 10.33),
    (101, "sew"): (3.07, 8.67, 42.65),
}


def documented(name: str) -> list[str]:
    """The row of a network in docs/networks.md."""
    lines = (Path(__file__).parents[2] / "docs" / "networks.md").read_text("utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    (found,) = [row[1:] for row in rows if row[0].partition(" ")[0] == name and len(row) == 7]
    return found


QUICK = {(18, "dsnn"), (18, "sew")}


@pytest.mark.parametrize(
    ("depth", "kind"),
    [pytest.param(*row, marks=() if row in QUICK else pytest.mark.slow) for row in TABLE_2],
)
def test_table_2_of_the_aap_paper(depth: int, kind: str) -> None:
    ac, mac, millijoule = TABLE_2[depth, kind]
    found = counted(depth, kind)
    assert found.mac / 1e9 == pytest.approx(mac, rel=0.05)
    rate = implied_rate(found, ac * 1e9)
    assert 0.1 < rate < 0.3  # docs/networks.md says why that is plausible
    assert found.ac(rate) == pytest.approx(ac * 1e9)
    assert found.energy(rate) == pytest.approx(millijoule, rel=0.02)
    name = f"{ {'fsnn': 'FSNN', 'dsnn': 'DSNN', 'sew': 'SEW'}[kind] }-{depth}"
    assert documented(name) == [
        f"{found.mac / 1e9:.4f} / {mac:.2f} G",
        f"{100 * (found.mac / 1e9 / mac - 1):+.1f} %",
        f"{found.synaptic / 4 / 1e6:,.1f} M",
        f"{ac:.2f} G",
        f"{rate:.3f}",
        f"{found.energy(rate):.2f} / {millijoule:.2f}",
    ]


def test_what_the_pathway_adds_to_resnet_50_in_spikes() -> None:
    """Its first down-sampling reads the stem's spikes: AC, which the table shows as 3.20 - 3.14."""
    with torch.device("meta"):
        model = build_network("fsnn-50", steps=1).eval()
        found: list[int] = []
        layer = model.get_submodule("blocks.0.aap_down.0")
        layer.register_forward_hook(lambda m, i, o: found.append(o[0, 0].numel() * 64))
        model(torch.zeros(1, 1, 3, 224, 224))
    rate = 0.06e9 / (4 * found[0])
    assert 0.26 < rate < 0.32  # 3 x 3 max pooling, so more than the mean rate of 0.195


def test_counts_at_measured_rates() -> None:
    """With every layer's own rate the total is what runs, padding aside."""
    model = small("cifar-resnet-20", 16, width=1 / 16, pool="max")
    x = spikes(16)
    graph = strip_auxiliary(capture(model, (CHANNELS, 16, 16), 2).graph)
    trace = run(graph, x.numpy())
    rates = {name: float(values.mean()) for name, values in trace.values.items()}
    found = paper_counts(graph, rates)
    by_hand = sum(
        row.dense * float(trace.values[row.source].sum())
        / (trace.values[row.source][0, 0].size * x.shape[1])
        for row in layer_counts(graph)
        if row.spikes
    )  # fmt: skip
    assert found.synaptic == pytest.approx(by_hand, abs=1)
    assert 0 < found.synaptic < paper_counts(graph).synaptic
