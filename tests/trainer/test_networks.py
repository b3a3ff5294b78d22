"""The named networks: sizes of the papers, equations of the methods, and compilation."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from helpers.network_cases import (
    CHANNELS,
    CLASSES,
    STEPS,
    assert_same_spikes,
    failing,
    lowered,
    run_torch,
    small,
    spikes,
)
from torch import nn

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir import ops
from purespike.compiler.passes.strip_auxiliary import strip_auxiliary
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.compiler.proofs.counts import dense_counts
from purespike.compiler.rules.graph_rules import check_arithmetic
from purespike.trainer.capture.trace import capture
from purespike.trainer.errors import CheckpointError, ConfigError
from purespike.trainer.networks.blocks import BottleneckBlock, DualStreamBlock
from purespike.trainer.networks.catalogue import CATALOGUE, network_config
from purespike.trainer.networks.configuration import (
    ModelConfig,
    NetworkConfig,
    NeuronConfig,
    from_dict,
    to_dict,
)
from purespike.trainer.networks.models import as_dsnn, build, build_network, main_only, model_config
from purespike.trainer.nn.auxiliary import auxiliary_modules
from purespike.trainer.nn.layers import BatchNorm2d, ThresholdBatchNorm2d
from purespike.trainer.nn.neuron import Neuron
from purespike.trainer.nn.surrogate import Shaped
from purespike.trainer.training.checkpoint import load_checkpoint, save_checkpoint
from purespike.trainer.training.learner import TrainConfig
from purespike.trainer.training.losses import total_loss

# Parameters of the deployed network: torchvision's ResNets, Guo's released networks, SEW ResNet's
# event networks (and one number for each PLIF), Spikformer's (less 6,144 of layer norms that it
# makes and never uses).
PARAMETERS = {
    "fsnn-18": 11_689_512,
    "fsnn-34": 21_797_672,
    "fsnn-50": 25_557_032,
    "fsnn-101": 44_549_160,
    "imagenet-resnet-18": 11_689_512,
    "imagenet-resnet-34": 21_797_672,
    "cifar-resnet-18": 11_173_962,
    "cifar-resnet-34": 21_328_292,
    "cifar-resnet-19": 12_569_226,
    "cifar-resnet-20": 11_247_946,
    "cifar-resnet-50": 23_705_252,
    "vgg-16": 14_724_042,
    "7b-net": 130_411 + 15,
    "wide-7b-net": 1_192_202 + 16,
    "spikformer-4-384": 9_365_524 - 6_144,
    "ms-resnet-18": 11_693_736,  # SpikingJelly's ms_resnet18 and 34
    "ms-resnet-34": 21_801_896,
    # SpikingJelly's, without biases of four convolutions that the released code does not have.
    "spike-driven-2-256": 2_567_434 - (32 + 64 + 128 + 256),
    # The released code's with ten classes, without the values of the last stage.
    "qkformer-4-384": 6_706_234 - 2 * (384 * 384 + 2 * 384),
    "ilif-resnet-18": 11_173_962,
}


def test_parameters_that_papers_print_for_other_sizes() -> None:
    """Spike-driven Transformer 2-512 and QKFormer 4-384 on CIFAR-100: 10.28 and 6.74 M."""
    with torch.device("meta"):
        driven = build_network("spike-driven-2-256", width=2, classes=100)
        former = build_network("qkformer-4-384", classes=100)
    values = 2 * (384 * 384 + 2 * 384)  # of spiking self-attention, which ours does without
    for model, more, printed in ((driven, 0, 10.28), (former, values, 6.74)):
        found = sum(p.numel() for p in model.parameters()) + more
        assert round(found / 1e6, 2) == printed


@pytest.mark.parametrize("name", CATALOGUE)
def test_parameters_are_those_of_the_paper(name: str) -> None:
    with torch.device("meta"):
        model = build_network(name, aap=False, shortcut=False)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[name]
    assert set(PARAMETERS) == set(CATALOGUE)


CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("fsnn-18", 32, {"width": 1 / 16}),
    ("fsnn-18", 32, {"width": 1 / 16, "gate": "vanilla", "shortcut": True}),
    ("fsnn-34", 32, {"width": 1 / 32, "gate": "xor"}),
    ("imagenet-resnet-18", 32, {"width": 1 / 16, "pool": "max"}),
    ("cifar-resnet-18", 16, {"width": 1 / 16}),
    ("cifar-resnet-18", 16, {"width": 1 / 16, "gate": "or", "aap": True, "shortcut_at": "stage"}),
    ("cifar-resnet-34", 16, {"width": 1 / 32, "gate": "sn", "aap": True}),
    ("cifar-resnet-19", 16, {"width": 1 / 32, "zero_init_residual": False}),
    ("cifar-resnet-20", 32, {"width": 1 / 16}),
    ("cifar-resnet-20", 16, {"width": 1 / 16, "aap": True, "gate": "sn"}),
    ("cifar-resnet-20", 16, {"width": 1 / 16, "aap": True, "gate": "or", "pool": "max"}),
    ("vgg-16", 32, {"width": 1 / 16}),
    ("vgg-16", 32, {"width": 1 / 16, "pool": "max", "shortcut": True}),
    ("7b-net", 32, {"width": 1 / 8}),
    ("wide-7b-net", 16, {"width": 1 / 16, "gate": "and"}),
    ("ms-resnet-18", 64, {"width": 1 / 32, "zero_init_residual": False}),
    ("ms-resnet-18", 32, {"width": 1 / 32, "zero_init_residual": False, "shortcut": True}),
    ("spike-driven-2-256", 16, {"width": 1 / 16}),
    ("qkformer-4-384", 16, {"width": 1 / 12}),
    ("qkformer-4-384", 8, {"width": 1 / 12, "gate": "iand", "aap": True, "shortcut": True}),
]


@pytest.mark.parametrize(
    ("name", "size", "options"), CASES, ids=lambda v: v if isinstance(v, str) else None
)
def test_compiled_networks_spike_as_in_torch(name: str, size: int, options: dict[str, Any]) -> None:
    model = small(name, size, **options)
    captured, graph = lowered(model)
    x = spikes(size)
    assert_same_spikes(strip_auxiliary(captured), model, x)
    assert_same_spikes(graph, model, x)
    assert failing(graph) == {}


@pytest.mark.parametrize(
    ("name", "size"), [("fsnn-50", 64), ("fsnn-101", 64), ("cifar-resnet-50", 32)]
)
@pytest.mark.slow
def test_bottlenecks_spike_as_in_torch(name: str, size: int) -> None:
    model = small(name, size, width=1 / 16, gate="sn", aap=True)
    _, graph = lowered(model)
    assert_same_spikes(graph, model, spikes(model.config.size[0], batch=1))


def test_a_bottleneck_network_is_captured_in_full() -> None:
    model = small("cifar-resnet-50", 8, width=1 / 16, gate="sn")
    graph = capture(model, (CHANNELS, 8, 8), STEPS).graph
    assert sum(isinstance(n.op, ops.Conv2d) for n in graph.nodes) == 53
    assert_same_spikes(graph, model, spikes(8, batch=1))


def test_the_stem_of_inflor_on_imagenet_is_averaged_and_said_to_be() -> None:
    """7x7 with stride 2, neuron, average 3/2/1; spike for spike as built by hand, and reported."""
    model = small("imagenet-resnet-18", 32, width=1 / 16)
    x = spikes(32)
    conv, norm, neuron = list(model.stem)
    first = neuron(norm(conv(x)))
    assert conv.kernel_size == (7, 7) and conv.stride == (2, 2) and first.shape[-1] == 16
    pooled = torch.nn.functional.avg_pool2d(first.flatten(0, 1), 3, 2, 1).unflatten(0, (STEPS, -1))
    block = model.blocks[0]
    current = block.bn2(block.conv2(block.neuron1(block.bn1(block.conv1(pooled)))))
    assert torch.equal(block(first)[0], block.neuron2(current + pooled))
    captured, graph = lowered(model)
    assert_same_spikes(strip_auxiliary(captured), model, x)
    assert_same_spikes(graph, model, x)
    assert failing(graph)["PS004"] == {"blocks.0.entry"}  # in front of a padded convolution


def test_a_residual_network_passes_the_whole_pipeline_and_complies() -> None:
    model = small("cifar-resnet-20", 16, width=1 / 32)
    x = spikes(16)
    graph = capture(model, (CHANNELS, 16, 16), STEPS).graph
    compiled = compile_graph(graph, standard_pipeline(), x.numpy())
    assert failing(compiled.graph) == {}
    notes = next(line.notes for line in compiled.ledger if line.name == "strip_auxiliary")
    assert sum("rectificator" in note for note in notes) == sum(
        isinstance(m, Neuron) for m in model.modules()
    )


# --- Methods ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["and", "or", "iand", "xor", "add", "sn", "vanilla"])
def test_bottlenecks_follow_equations_10_and_11(kind: str) -> None:
    torch.manual_seed(0)
    block = BottleneckBlock(4, 16, 2, kind, NeuronConfig(decay=0.5), aap=True).eval()
    for module in block.modules():
        if isinstance(module, BatchNorm2d):
            module.weight.data.uniform_(2, 6)
    s = (torch.rand(4, 2, 4, 6, 6) < 0.5).float()
    a = s * 2
    out, carried = block(s, a)
    inner = block.neuron1(block.bn1(block.conv1(s)))
    inner = block.neuron2(block.bn2(block.conv2(inner)))
    assert inner.shape[2] == 4 and inner.any()
    f = block.bn3(block.conv3(inner))
    identity = block.identity(s)
    if kind in ("sn", "vanilla"):
        assert block.neuron3.decay == (1.0 if kind == "sn" else 0.5)
        expected = contribution = block.neuron3(f + identity)
    else:
        contribution = block.neuron3(f)
        i, c = identity.bool(), contribution.bool()
        joins = {"and": c & i, "or": c | i, "iand": ~c & i, "xor": c ^ i, "add": c.int() + i.int()}
        expected = joins[kind].float()
    assert contribution.any()
    assert torch.equal(out, expected)
    assert torch.equal(carried, block.aap_down(a) + contribution)


@pytest.mark.parametrize("name", ["cifar-resnet-18", "fsnn-50", "7b-net"])
@pytest.mark.parametrize("gate", ["or", "iand", "xor", "and", "sn"])
def test_identity_initialization_makes_every_plain_block_an_identity(name: str, gate: str) -> None:
    model = build_network(
        name, seed=0, width=1 / 16, in_channels=2, classes=3, steps=3, size=32, gate=gate,
        zero_init_residual=True, aap=True,
    )  # fmt: skip
    for block in (m for m in model.modules() if isinstance(m, DualStreamBlock)):
        channels = block.out_channels
        if block.reshapes:
            continue
        s = (torch.rand(3, 2, channels, 4, 4) < 0.5).float()
        out, a = block(s, 3.0 * s)
        assert torch.equal(out, s)
        silent = {"sn": s, "and": torch.ones_like(s)}.get(gate, torch.zeros_like(s))
        assert torch.equal(a, 3.0 * s + silent)


@pytest.mark.parametrize("name", ["cifar-resnet-18", "7b-net", "fsnn-50", "spikformer-4-384"])
def test_auxiliary_paths_leave_the_main_logits_alone(name: str) -> None:
    options = {"width": 1 / 8, "in_channels": 2, "classes": 3, "steps": 2, "size": 32, "seed": 3}
    plain = build_network(name, aap=False, shortcut=False, gate="or", **options)
    full = build_network(name, aap=True, shortcut=True, gate="or", **options)
    x = spikes(32).float()
    out = full(x)
    assert torch.equal(out["main"], plain(x)["main"])
    assert set(out) == {"main", "aap"} | {f"shortcut.{k}" for k in range(len(full.blocks) - 1)}
    stripped = main_only(full)
    assert set(stripped.state_dict()) == set(plain.state_dict())
    assert torch.equal(stripped.eval()(x)["main"], full.eval()(x)["main"])
    assert auxiliary_modules(full) and not auxiliary_modules(stripped)


def test_branches_hang_on_blocks_or_on_stages() -> None:
    def branches(**options: Any) -> list[str]:
        with torch.device("meta"):
            model = build_network("fsnn-34", shortcut=True, **options)
        return [f"shortcut.{k}" for k in model.branch_at]

    assert branches() == [f"shortcut.{k}" for k in range(15)]
    assert branches(shortcut_at="stage") == ["shortcut.2", "shortcut.6", "shortcut.12"]


def test_a_dsnn_deploys_what_the_full_spike_network_trained_beside_itself() -> None:
    model = build_network(
        "cifar-resnet-18", seed=0, width=1 / 16, in_channels=2, classes=5, steps=2, size=16,
        gate="or", aap=True, shortcut=False,
    ).eval()  # fmt: skip
    kept = as_dsnn(model)
    x = spikes(16).float()
    full, mixed = model(x), kept(x)
    assert torch.equal(mixed["main"], full["aap"]) and torch.equal(mixed["spike"], full["main"])
    labels = torch.tensor([0, 1])
    assert torch.equal(
        *(total_loss(logits, labels, balance=0.25, fusion="logit") for logits in (full, mixed))
    )
    assert torch.equal(main_only(kept)(x)["main"], mixed["main"])
    with pytest.raises(ConfigError, match="not built"):
        as_dsnn(main_only(model))


def test_compliance_calls_a_dsnn_mixed_and_names_the_pathway_only() -> None:
    model = small("cifar-resnet-18", 16, width=1 / 16, gate="or", aap=True, shortcut=False)
    for network, mixed in ((model, False), (as_dsnn(model), True)):
        _, graph = lowered(network)
        assert_same_spikes(graph, network, spikes(16))
        places = failing(graph)
        macs = places.get("PS005", set())
        failed = places.get("PS001", set()) | places.get("PS004", set())
        if not mixed:
            assert macs == failed == set()
            continue
        downs = {f"blocks.{k}.aap_down" for k in (2, 4, 6)}
        assert {w for w in macs if any(w.startswith(d) for d in downs)}
        assert all(any(part in w for part in ("aap", "fc")) for w in macs | failed)
        assert any(f"{d}.3" in w for d in downs for w in failed)  # the ReLUs
        census = {n.name: dense_counts(graph, n) for n in graph.nodes}
        findings = check_arithmetic(graph, census, leak_multiplies=True)
        said = {f.where: "mixed precision" in f.measured for f in findings}
        assert all(said[name] == (census[name].mac > 0) for name in census)
        assert {w for w, mixed in said.items() if mixed} <= macs


def test_threshold_norms_are_where_inflor_has_them() -> None:
    with torch.device("meta"):
        model = build_network("cifar-resnet-19")
    norms = {n: m for n, m in model.named_modules() if isinstance(m, BatchNorm2d)}
    scales = {n: m.scale for n, m in norms.items() if isinstance(m, ThresholdBatchNorm2d)}
    assert set(norms) - set(scales) == {"stem.1"}
    halved = {n for n, s in scales.items() if s == 0.5 / 2**0.5}
    assert halved == {f"blocks.{k}.{n}" for k in (3, 6) for n in ("bn2", "identity.1")}
    assert {scales[n] for n in set(scales) - halved} == {0.5}


# --- Spikformer ------------------------------------------------------------------------------


def test_spikformer_is_captured_and_fails_at_the_products_of_its_attention_only() -> None:
    model = small("spikformer-4-384", 16, width=1 / 8)
    captured, graph = lowered(model)
    assert_same_spikes(strip_auxiliary(captured), model, spikes(16))
    assert_same_spikes(graph, model, spikes(16))
    places = failing(graph)
    scores = {f"blocks.{k}.attention.scores" for k in range(1, 5)}
    mixes = {f"blocks.{k}.attention.mix" for k in range(1, 5)}
    assert set(places) == {"PS004", "PS005"}  # every synapse still receives spikes
    assert places["PS004"] == scores | mixes  # neither product has weights
    assert places["PS005"] == mixes  # only the second one multiplies numbers
    added = [n for n in captured.nodes if n.role == "auxiliary" and isinstance(n.op, ops.Add)]
    assert len(added) == 8
    with pytest.raises(PurespikeError, match=r"blocks\.1\.attention"):  # nothing is degraded
        standard_pipeline()["quantize"].rewrite(graph)


def test_attention_products_against_loops() -> None:
    model = small("spikformer-4-384", 16, width=1 / 8)
    x = spikes(16)
    seen, _ = run_torch(model, x)
    q, k, v = (seen[f"blocks.1.attention.{n}.2"][0, 0].flatten(1) for n in "qkv")
    channels, tokens = q.shape
    per_head = channels // 12
    attention = model.get_submodule("blocks.1.attention")
    shaped = [seen[f"blocks.1.attention.{n}.2"] for n in "qkv"]
    scores = attention.scores(*shaped[:2])
    mixed = attention.mix(scores, shaped[2])[0, 0].flatten(1)
    assert q.any() and k.any() and v.any()
    for head in range(12):
        rows = range(head * per_head, (head + 1) * per_head)
        for i in range(tokens):
            wanted = [sum(bool(q[c, i]) and bool(k[c, j]) for c in rows) for j in range(tokens)]
            assert scores[0, 0, head, i].tolist() == wanted
            for c in rows:
                assert mixed[c, i] == sum(wanted[j] for j in range(tokens) if v[c, j])


# --- Configurations --------------------------------------------------------------------------


def test_options_replace_what_the_paper_has() -> None:
    config = network_config("7b-net", size=32, neuron={"threshold": 0.7}, gate="xor")
    assert config.size == (32, 32) and config.neuron.threshold == 0.7
    assert config.neuron.learned_tau and config.steps == 16 and config.classes == 11
    neuron = NeuronConfig(surrogate=Shaped("arctan", 0.5, 2.0))
    assert network_config("fsnn-18", neuron=neuron).neuron == neuron
    table = {"name": "vgg-16", "size": [16, 16], "width": 0.5}
    assert model_config(table) == network_config("vgg-16", size=16, width=0.5)
    plain = model_config({"in_channels": 2, "classes": 3})
    assert plain == ModelConfig(2, 3)


def test_configurations_survive_json() -> None:
    for entry in CATALOGUE.values():
        text = json.dumps(to_dict(entry.defaults))
        assert from_dict(NetworkConfig, json.loads(text)) == entry.defaults
        assert network_config(**json.loads(text)) == entry.defaults


COUNTING = {"levels": 4, "reset": "subtract", "input_scale": 1.0}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fsnn-19", {}, "unknown network"),
        ("fsnn-18", {"depth": 3}, "unknown names"),
        ("fsnn-18", {"gate": "nor"}, "unknown residual gate"),
        ("fsnn-18", {"gate": "none"}, "cannot join"),
        ("fsnn-18", {"aap": False, "dsnn": True}, "not built"),
        ("fsnn-18", {"width": 0.0}, "factor"),
        ("fsnn-18", {"pool": "min"}, "unknown pool"),
        ("imagenet-resnet-18", {"gate": "or"}, 'pool="max"'),
        ("fsnn-18", {"size": [32, 0]}, "whole numbers"),
        ("vgg-16", {"aap": True}, "pathway could add up"),
        ("vgg-16", {"gate": "or"}, "cannot join"),
        ("cifar-resnet-20", {"gate": "or"}, 'pool="max"'),
        ("spikformer-4-384", {"gate": "sn"}, "cannot join"),
        ("spikformer-4-384", {"width": 1 / 48}, "heads"),
        ("7b-net", {"neuron": {"decay": 0.2}}, "time constant"),
        ("cifar-resnet-20", {"size": 8}, "halve"),
        ("cifar-resnet-20", {"size": [32, 40]}, "halve"),
        ("vgg-16", {"size": 15}, "halve"),
        ("ms-resnet-18", {"gate": "or"}, "cannot join"),
        ("ms-resnet-18", {"aap": True}, "pathway could add up"),
        ("fsnn-18", {"gate": "membrane"}, "cannot join"),
        ("spike-driven-2-256", {"neuron": COUNTING}, "are of spikes"),
        ("qkformer-4-384", {"neuron": COUNTING, "gate": "add"}, "are of spikes"),
        ("qkformer-4-384", {"neuron": COUNTING}, "takes spikes, and these neurons send counts"),
        ("ilif-resnet-18", {"gate": "or"}, "takes spikes, and these neurons send counts"),
        ("ilif-resnet-18", {"neuron": {"reset": "zero"}}, "no such option"),
        ("fsnn-18", {"neuron": {"levels": -1}}, "needs levels|levels"),
        ("spike-driven-2-256", {"pool": "avg"}, "no choice of pool"),
        ("ms-resnet-18", {"threshold_norm": True}, "no choice of threshold_norm"),
        ("qkformer-4-384", {"zero_init_residual": True}, "no choice of zero_init_residual"),
        ("fsnn-18", {"neuron": {"learned_threshold": True}}, "needs levels"),
    ],
)
def test_impossible_networks_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_network(name, **options)


OTHERWISE = {"pool": {"avg": "max", "max": "avg"}, "threshold_norm": {True: False, False: True}}
OTHERWISE["zero_init_residual"] = OTHERWISE["threshold_norm"]


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("option", OTHERWISE)
def test_an_option_changes_the_network_or_is_refused(name: str, option: str) -> None:
    """The modules, their order and their weights at the start are the network."""
    size, width = (32, 0.25) if name.startswith("qkformer") else (32, 1 / 16)
    more = {"size": size, "width": width, "classes": 3, "steps": 1}
    if name.startswith("spikformer"):
        more["width"] = 1 / 12
    before = network_config(name, **more)
    other = OTHERWISE[option][getattr(before, option)]
    refused = option in CATALOGUE[name].fixed
    try:
        after = build_network(name, seed=1, **more, **{option: other})
    except ConfigError as error:
        assert refused == (f"no choice of {option}" in str(error))
        return
    assert not refused
    own = build_network(name, seed=1, **more)
    weights = own.state_dict(), after.state_dict()
    equal = weights[0].keys() == weights[1].keys() and all(
        torch.equal(value, weights[1][key]) for key, value in weights[0].items()
    )
    assert str(own) != str(after) or not equal


def test_a_checkpoint_knows_which_builder_made_its_network(tmp_path) -> None:
    model = build_network(
        "7b-net", seed=2, width=1 / 16, in_channels=2, classes=3, steps=2, size=16,
        neuron={"learned_tau": True},
    )  # fmt: skip
    x = spikes(16).float()
    model(x)
    folder = save_checkpoint(tmp_path / "model", model, TrainConfig(), {})
    loaded = load_checkpoint(folder).model
    assert isinstance(loaded.config, NetworkConfig) and loaded.config == model.config
    for head, logits in model.eval()(x).items():
        assert torch.equal(logits, loaded(x)[head])
    path = folder / "checkpoint.json"
    text = path.read_text()
    for edit, message in (
        (('"network"', '"lattice"'), "builder"),
        (('"name": "7b-net"', '"name": "8b-net"'), "unknown network"),
    ):
        assert edit[0] in text
        path.write_text(text.replace(*edit))
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(folder)


def test_older_checkpoints_name_no_builder(tmp_path) -> None:
    model = build(ModelConfig(2, 3, 2, stem=2, widths=(2,), strides=(1,)), 0)
    folder = save_checkpoint(tmp_path / "model", model, TrainConfig(), {})
    path = folder / "checkpoint.json"
    path.write_text(path.read_text().replace('"builder": "resnet",', ""))
    assert load_checkpoint(folder).model.config == model.config


@pytest.mark.parametrize("name", CATALOGUE)
def test_odd_and_small_inputs_run_or_are_refused(name: str) -> None:
    ran = 0
    for size in ([8, 8], [17, 23], [1, 1], [16, 48]):
        try:
            model = build_network(
                name, width=1 / 8, in_channels=1, classes=2, size=size, steps=1, shortcut=True,
                aap=CATALOGUE[name].pathway,
            )  # fmt: skip
        except ConfigError as e:
            assert "halve" in e.message
            continue
        ran += 1
        assert model.eval()(torch.ones(1, 1, 1, *size))["main"].shape == (1, 2)
    assert ran


def test_every_network_learns() -> None:
    """One step of gradient reaches the first layer of every network through every head."""
    for name, entry in CATALOGUE.items():
        model = build_network(
            name, seed=0, width=1 / 8 if "former" in name else 1 / 16, in_channels=2,
            classes=CLASSES, steps=2, size=16, aap=entry.pathway, zero_init_residual=False,
        )  # fmt: skip
        logits = model(spikes(16).float())
        total_loss(logits, torch.tensor([0, 1]), balance=0.25, fusion="logit").backward()
        first = model.stem[0].weight.grad
        assert isinstance(first, torch.Tensor) and bool(first.isfinite().all()), name
        assert float(first.abs().sum()) > 0.0, name
        assert isinstance(model.stem[0], nn.Conv2d)
