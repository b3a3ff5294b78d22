"""What the trainer is for, measured; minutes each."""

from dataclasses import replace

import pytest

from purespike.trainer.training.fit import train
from purespike.trainer.training.presets import DEMO


@pytest.mark.slow
def test_the_demo_network_reaches_97_percent_without_its_auxiliary_paths(tmp_path):
    assert DEMO.model.aap and DEMO.model.shortcut
    assert train(DEMO.model, DEMO.train, tmp_path, progress=False).accuracy >= 0.97


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("gate", ["iand", "or", "xor", "sn"])
@pytest.mark.filterwarnings("ignore::purespike.trainer.training.learner.DeadLayerWarning")
def test_the_accumulation_pathway_lifts_the_spike_stream_of_a_zero_init_network(gate, tmp_path):
    # The claim of the full-spike paper. The residual functions start silent, so without the
    # pathway the blocks learn slowly. Three seeds: docs/results.md, digits, shallow.
    model = replace(
        DEMO.model,
        gate=gate,
        stem=8,
        widths=(12, 12, 24, 24),
        strides=(1, 1, 2, 1),
        shortcut=False,
        zero_init_residual=True,
    )
    config = replace(DEMO.train, epochs=24, batch_size=64)
    accuracy = {
        aap: train(replace(model, aap=aap), config, tmp_path / str(aap), progress=False).accuracy
        for aap in (False, True)
    }
    assert accuracy[True] > accuracy[False] + 0.15
