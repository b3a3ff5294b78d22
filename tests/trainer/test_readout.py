"""What a network puts out at each step is read in one way: trained, evaluated and compiled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import own_networks as own
from helpers import readouts

from purespike.compiler.ir.graph import Graph
from purespike.compiler.pipeline import standard_pipeline
from purespike.compiler.rules.graph_rules import check_operations
from purespike.compiler.rules.measure import decisions
from purespike.flow.build import captured_network
from purespike.flow.inputs.given import as_subject
from purespike.judge.accuracy import own_decisions
from purespike.judge.capture_check import check_capture
from purespike.subject import Samples, Subject
from purespike.trainer.capture.interop.imported import Imported
from purespike.trainer.capture.readout import on_sequences
from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.attached import logits
from purespike.trainer.networks.own import ModuleConfig, own_network
from purespike.trainer.training.own import train_module
from purespike.trainer.training.settings import TrainConfig

NETWORKS = {
    "linear": None,
    "jelly": "spikingjelly",
    "jelly_stepwise": "spikingjelly",
    "jelly_membrane": "spikingjelly",
    "jelly_spikes": "spikingjelly",
    "Snn": "snntorch",
    "SnnMembrane": "snntorch",
}
X, Y = own.quadrants(200, seed=5)


def front(subject: Subject) -> Graph:
    graph, _ = captured_network(subject)
    for each in standard_pipeline().network:
        graph = each.rewrite(graph)
    return graph


@pytest.mark.parametrize("name", NETWORKS)
def test_training_evaluation_and_the_compiled_network_decide_alike(name: str) -> None:
    if NETWORKS[name]:
        pytest.importorskip(NETWORKS[name])
    torch.manual_seed(1)
    made = getattr(readouts, name)()
    config = ModuleConfig(f"helpers.readouts:{name}")
    trained = own_network(made, config, own.SHAPE, own.STEPS).model.eval()
    with torch.no_grad():
        learnt = logits(trained(torch.from_numpy(X).float()))["main"].argmax(1).numpy()
    assert len(set(learnt.tolist())) > 1
    for network in (made, trained):  # as a module that its user brings, and as it was trained
        subject = as_subject(network, Samples(X, Y))
        graph = front(subject)
        assert not [f for f in check_operations(graph) if f.status == "FAIL"]
        same = [
            np.mean(learnt == decided)
            for decided in (own_decisions(subject.model, X), decisions(graph, X))
        ]
        assert min(same) > 0.98, same  # float32 and float64 sums may part at ties
        captured, _ = captured_network(subject)
        finding, _ = check_capture(subject.model, captured, X[:, :20])
        assert finding.status == "PASS", finding.measured


@pytest.mark.parametrize("name", ["SnnMembrane", "Snn"])
def test_what_its_user_put_behind_imported_stays_what_it_returns(name: str) -> None:
    pytest.importorskip("snntorch")
    theirs = Imported(getattr(readouts, name)())
    ours = on_sequences(theirs, own.SHAPE, own.STEPS)
    x = torch.from_numpy(X[:, :5]).float()
    assert theirs(x).shape == (own.STEPS, 5, own.CLASSES)
    read = logits(ours(x))["main"]
    assert torch.equal(read, theirs(x)[-1] if name == "SnnMembrane" else theirs(x).mean(0))


def test_a_checkpoint_that_ends_in_a_linear_layer_compiles_as_it_was_trained(
    tmp_path: Path,
) -> None:
    import purespike as ps

    pytest.importorskip("snntorch")
    config = replace(TrainConfig(), epochs=1, batch_size=32, seed=3)
    done = train_module("helpers.readouts:Snn", (X, Y), tmp_path / "run", config, progress=False)
    x, y = own.quadrants(60, seed=6)
    made = ps.compile(done, ps.Samples(x, y), trust=True, lava="none", policy="leaky", golden=4)
    trained, fused, *_ = made.report.accuracy
    assert not [f for f in made.findings if f.rule.id == "PS004" and f.status == "FAIL"]
    model = done.model.eval()
    with torch.no_grad():
        named = logits(model(torch.from_numpy(x).float()))["main"].argmax(1).numpy()
    right = int((named == y).sum())
    assert trained.correct == right
    assert abs(fused.correct - right) <= 1


def test_a_forward_with_a_loop_over_time_is_refused_where_it_takes_samples_for_steps() -> None:
    """Handed one step, it goes through the samples as if they were steps, and gives (B, K)."""
    pytest.importorskip("snntorch")
    network, config = readouts.SnnLoop, ModuleConfig("")
    for shape, what in (
        ((1, 8, 8), "6 times where the forward is called for 2 steps of 3 samples"),
        ((4, 4, 4), "runs on a sequence"),
    ):
        x = X.reshape(*X.shape[:2], *shape)
        with pytest.raises(ConfigError, match="goes through the time steps itself") as trained:
            own_network(network, config, shape, own.STEPS)
        with pytest.raises(ConfigError, match="goes through the time steps itself") as compiled:
            as_subject(network(), Samples(x, Y))
        for e in (trained.value, compiled.value):
            assert what in e.found and "takes='sequence'" in e.remedy
        told = own_network(Imported(network(), "sequence"), config, shape, own.STEPS)
        graph = front(as_subject(told.model, Samples(x, Y)))
        assert not [f for f in check_operations(graph) if f.status == "FAIL"]
        assert np.mean(decisions(graph, x) == own_decisions(told.model, x)) > 0.98


def test_what_is_returned_in_another_order_is_refused_with_the_order() -> None:
    class Turned(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = readouts.linear()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.network(x).transpose(0, 1)
            return out

    with pytest.raises(ConfigError, match="gives no logits") as e:
        own_network(Turned, ModuleConfig(""), own.SHAPE, own.STEPS)
    assert "transpose(0, 1)" in e.value.remedy
