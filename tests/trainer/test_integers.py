"""The last epochs on the chip's integers, against the compiler and its interpreter."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from purespike.compiler.ir.interpret import run
from purespike.compiler.passes.quantize.calibrate import calibrate
from purespike.compiler.passes.quantize.quantize import quantize
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.trainer.capture.trace import capture
from purespike.trainer.data import digits
from purespike.trainer.errors import ConfigError, TrainingInterrupted
from purespike.trainer.networks.configuration import ModelConfig, NeuronConfig
from purespike.trainer.networks.folding import folded_state
from purespike.trainer.networks.models import build, main_only
from purespike.trainer.nn.encoders import encode
from purespike.trainer.training import fit, integers
from purespike.trainer.training.checkpoint import load_checkpoint
from purespike.trainer.training.settings import TrainConfig

MODEL = ModelConfig(5, 10, steps=3, stem=4, widths=(4, 6), strides=(2, 1))
CONFIG = TrainConfig(epochs=1, batch_size=96, integer_epochs=1)


def spikes(samples: int) -> np.ndarray:
    return encode("bit_plane", digits().test_images[:samples], 3).numpy()


@pytest.mark.parametrize("gate", integers.GATES)
def test_torch_and_the_chip_agree_to_the_last_bit(gate, tmp_path):
    neuron = NeuronConfig(threshold=0.7)  # no multiple of any layer's unit
    result = fit.train(replace(MODEL, gate=gate, neuron=neuron), CONFIG, tmp_path, progress=False)
    model = load_checkpoint(result.checkpoint).model
    assert model.config.folded and model.config.aap and model.branches  # auxiliary paths are kept
    x = spikes(360)
    with torch.no_grad():
        logits = model(torch.from_numpy(x).float())["main"].numpy()
    assert logits.std() > 0
    graph = capture(model, (5, 8, 8), 3).graph
    front = compile_graph(graph, standard_pipeline().network, x[:, :4].astype(np.float64)).graph
    for method in ("max", "percentile", "mse"):
        scales = calibrate(front, None, None, method)
        assert all(np.log2(s) % 1 == 0 for s in scales.values()), scales
        chip = quantize(front, None, scales)
        real, whole = run(front, x.astype(np.float64)), run(chip, x.astype(np.float64))
        (out,) = chip.outputs
        for name in (e.name for e in chip.edges() if e.name != out and e.shape):
            if name in scales and set(np.unique(real.values[name])) <= {0, 1}:
                assert np.array_equal(real.values[name], whole.values[name]), name
        scaled = whole.values[out][-1].reshape(360, -1) / scales[out]
        # Torch rounds the mean over three steps; the chip's weights hold it exactly.
        assert np.abs(scaled - logits).max() < 1e-5
        assert np.array_equal(scaled.argmax(1), logits.argmax(1))


def test_folding_keeps_what_the_network_computes():
    model = build(replace(MODEL, gate="or"), 1)
    x = torch.from_numpy(spikes(32)).float()
    model.train()(x)  # running statistics
    model.eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 2.0)
            torch.nn.init.normal_(module.bias, std=0.3)
    folded = build(replace(model.config, folded=True))
    folded.load_state_dict(folded_state(model))
    folded.eval()
    kept = [m for m in main_only(folded).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not kept
    with torch.no_grad():
        for head, logits in model(x).items():
            assert (folded(x)[head] - logits).abs().max() < 1e-4, head


def test_the_same_training_gives_the_same_weights(tmp_path, monkeypatch):
    def weights(folder):
        return load_checkpoint(folder / "model").model.state_dict()

    fit.train(MODEL, CONFIG, tmp_path / "once", progress=False)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as m, pytest.raises(TrainingInterrupted, match="Ctrl-C"):
        m.setattr(fit, "train_integers", interrupted)
        fit.train(MODEL, CONFIG, tmp_path / "twice", progress=False)
    again = tmp_path / "twice"
    fit.train(MODEL, CONFIG, again, resume_from=again, progress=False)
    once, twice = weights(tmp_path / "once"), weights(again)
    assert once.keys() == twice.keys() and all(torch.equal(once[k], twice[k]) for k in once)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"gate": "sn"}, "gate sn"),
        ({"dsnn": True}, "dsnn"),
        ({"neuron": NeuronConfig(decay=0.5)}, "decay 0.5, input_scale 1"),
        ({"neuron": NeuronConfig(reset="subtract")}, "reset subtract"),
    ],
)
def test_what_has_no_exact_integers_is_refused_before_the_training(change, found, tmp_path):
    with pytest.raises(ConfigError, match="integers") as caught:
        fit.train(replace(MODEL, **change), CONFIG, tmp_path / "out", progress=False)
    assert caught.value.found == found and not (tmp_path / "out").exists()
