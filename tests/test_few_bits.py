"""What integers cost a trained network, as the command line compiles it.

``data/event-digits`` is what ``purespike train event-digits`` wrote (seed 0, one thread): training
it anew takes minutes, and its last bits depend on the machine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.pipeline import compile_graph, standard_pipeline
from purespike.flow.inputs.checkpoints import digits_subject
from purespike.judge.fast import execute
from purespike.subject import Subject
from purespike.trainer.capture.trace import capture
from purespike.trainer.training.fit import train
from purespike.trainer.training.presets import DEMO
from purespike.trainer.training.recipe import read_recipe

EVENT_DIGITS = Path(__file__).parent / "data" / "event-digits"


def decided(graph: Graph, subject: Subject) -> Array:
    """Whether each test sample is classified rightly."""
    (out,) = graph.outputs
    samples = np.array_split(subject.spikes.astype(np.float64), 3, axis=1)
    logits = [execute(graph, x, {out}).values[out][-1] for x in samples]
    return np.concatenate(logits).argmax(axis=1) == subject.labels


def compiled(subject: Subject, bits: int | None) -> Graph:
    """In integers of so many bits, or before that."""
    graph = capture(subject.model, subject.shape, len(subject.spikes)).graph
    passes = standard_pipeline(
        grid=Grid(bits or 8), calibration=subject.calibration, method="percentile"
    )
    probe = subject.spikes[:, :4].astype(np.float64)
    return compile_graph(graph, passes if bits else passes.network, probe).graph


def test_eight_bits_cost_event_digits_at_most_0_3_points() -> None:
    subject = digits_subject(EVENT_DIGITS)
    before = decided(compiled(subject, None), subject)
    assert len(before) == 360 and before.mean() > 0.975
    after = decided(compiled(subject, 8), subject)
    assert before.mean() - after.mean() <= 0.003


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(4))
def test_the_demo_loses_nothing_whatever_the_seed(seed: int, tmp_path: Path) -> None:
    # Rounded after its training, the same network lost up to six digits, by seed and processor.
    config = read_recipe("digits", [f"train.seed={seed}"]).train
    result = train(DEMO.model, config, tmp_path, progress=False)
    assert result.accuracy >= 0.95
    subject = digits_subject(result.checkpoint)
    after = decided(compiled(subject, 8), subject)
    assert after.sum() == result.correct
    assert (after == decided(compiled(subject, None), subject)).all()
