"""Training on several processes against training on one."""

import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.process_tools import free_port, started
from torch import distributed
from torch.nn.functional import cross_entropy

from purespike.trainer.data import DataConfig, load_data
from purespike.trainer.errors import ConfigError
from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build
from purespike.trainer.nn import layers
from purespike.trainer.training.batches import feed, feed_digits
from purespike.trainer.training.checkpoint import load_checkpoint
from purespike.trainer.training.distributed import World, world
from purespike.trainer.training.fit import train
from purespike.trainer.training.settings import TrainConfig

MODEL = ModelConfig(5, 10, steps=2, stem=4, widths=(4, 6), strides=(2, 1))
# 1437 - 200 images: the last batch has 85, which two processes share as 42 and 43. One epoch only:
# once rounding has moved a membrane across its threshold, two trainings go different ways.
CONFIG = TrainConfig(epochs=1, batch_size=128, seed=3, validation=200)


def test_without_torchrun_there_is_one_process():
    assert world() == World(0, 1, 1) and world().machines == 1


@pytest.mark.parametrize("count", [2, 29, 128])
def test_shares_make_up_the_batch(count):
    shares = [World(rank, 2).share(count) for rank in range(2)]
    dealt = [i for share in shares for i in range(count)[share]]
    assert dealt == list(range(count))
    assert max(s.stop - s.start for s in shares) - min(s.stop - s.start for s in shares) <= 1


def test_a_process_without_work_is_refused():
    World(0, 4).require(samples=1437, batch_size=32)  # the last batch has 29
    with pytest.raises(ConfigError, match="1 samples in a batch, 4 processes"):
        World(0, 4).require(samples=33, batch_size=32)


@pytest.fixture
def group(tmp_path):
    distributed.init_process_group("gloo", f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("kind", ["plain", "threshold"])
def test_statistics_over_processes_are_those_of_batch_normalization(group, kind):
    # Of one process here; what two make of it is the slow test's.
    def norm() -> layers.BatchNorm2d:
        torch.manual_seed(5)
        made = layers.BatchNorm2d(3) if kind == "plain" else layers.ThresholdBatchNorm2d(3, 0.5, 2)
        torch.nn.init.normal_(made.weight)
        torch.nn.init.normal_(made.bias)
        return made

    alone, joined = norm(), norm()
    joined.over_processes = True
    x = torch.randn(2, 4, 3, 5, 5) * 3 + 7
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected, found = alone(a), joined(b)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    target = torch.randn_like(x)
    (expected * target).sum().backward()
    (found * target).sum().backward()
    torch.testing.assert_close(b.grad, a.grad, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(joined.weight.grad, alone.weight.grad, rtol=1e-4, atol=1e-4)
    for name, buffer in alone.named_buffers():
        torch.testing.assert_close(dict(joined.named_buffers())[name], buffer)
    torch.testing.assert_close(joined.eval()(x), alone.eval()(x), rtol=1e-5, atol=1e-5)


def test_two_processes_see_each_batch_of_one_between_them():
    data = load_data(DataConfig(augment=("crop:1",)), steps=2, seed=1)
    config = replace(CONFIG, batch_size=64, validation=0)
    alone = feed(data, config, World())
    halves = [iter(feed(data, config, World(rank, 2)).training) for rank in range(2)]
    for number, (inputs, labels) in zip(range(5), alone.training, strict=False):
        parts = [next(half) for half in halves]
        assert all(len(part[1]) == 32 for part in parts), number
        assert samples(parts) == samples([(inputs, labels)])
    with pytest.raises(ConfigError, match="a multiple of 3"):
        feed(data, config, World(0, 3))


def samples(batches):
    return {
        (x.numpy().tobytes(), int(y))
        for inputs, labels in batches
        for x, y in zip(inputs.unbind(1), labels, strict=True)
    }


TESTS = [str(folder) for folder in Path(__file__).parents[:2]]  # of this module, and of its helpers


def say(line: object) -> None:
    """In one write: both processes have one pipe, and without a buffer `print` writes by words."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


SCRIPT = """
import atexit, sys
from pathlib import Path
from torch import distributed
sys.path[:0] = {tests!r}
from test_distributed import CONFIG, MODEL, say
from purespike.trainer.training.fit import train
from purespike.trainer.networks.models import build
atexit.register(lambda: say(["in a group", distributed.is_initialized()]))  # the last to run
result = train(MODEL, CONFIG, Path({folder!r}), progress=False)
say(["right", result.correct])
"""


def launch(machines: int, script: Path) -> list[str]:
    """Two processes with torchrun, on one machine or as if on two; what each printed."""
    port = free_port()
    commands = [
        [
            *(sys.executable, "-m", "torch.distributed.run"),
            f"--nnodes={machines}",
            f"--node-rank={machine}",
            f"--nproc-per-node={2 // machines}",
            "--master-addr=127.0.0.1",
            f"--master-port={port}",
            str(script),
        ]
        for machine in range(machines)
    ]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:
        running = [stack.enter_context(started(c, **how, env=environment)) for c in commands]
        outputs = [process.communicate(timeout=280) for process in running]
    for process, (_, error) in zip(running, outputs, strict=True):
        assert process.returncode == 0, error
    return [line for out, _ in outputs for line in out.splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("machines", [1, 2])
def test_two_processes_give_what_one_gives(tmp_path, machines):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = train(MODEL, CONFIG, tmp_path / "one", progress=False)
    finally:
        torch.set_num_threads(before)
    script = tmp_path / "train.py"
    folder = str(tmp_path / "two")
    script.write_text(SCRIPT.format(tests=TESTS, folder=folder))
    printed = launch(machines, script)
    # Both processes know the same result, and it is that of one process.
    said = [f"['right', {alone.correct}]", "['in a group', False]"]
    assert sorted(printed) == sorted(2 * said)
    found = load_checkpoint(tmp_path / "two" / "model").model.state_dict()
    for name, value in alone.model.state_dict().items():
        # Sums in another order; 3e-7 was measured after these 10 steps.
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


# Four trainings in each of the two processes: one stopped in its second epoch and resumed, one that
# was not; and one step with and one without joined statistics.
SEQUENCE = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path[:0] = {tests!r}
from test_distributed import CONFIG, MODEL, ONE_STEP, say
from purespike.trainer.errors import TrainingInterrupted
from purespike.trainer.training.fit import train
from purespike.trainer.networks.models import build
from purespike.trainer.training.learner import Learner

folder = Path({folder!r})
config = replace(CONFIG, epochs=2, patience=1, sync_batchnorm={joined})
train(MODEL, config, folder / "whole", progress=False)
original = Learner.training_step
def step(self, batch, batch_idx):
    if (self.current_epoch, batch_idx) == (1, 2):
        raise KeyboardInterrupt
    return original(self, batch, batch_idx)
Learner.training_step = step
try:
    train(MODEL, config, folder / "cut", progress=False)
except TrainingInterrupted as error:
    say(["stopped", "last.ckpt" in str(error)])
Learner.training_step = original
result = train(MODEL, config, folder / "cut", progress=False, resume_from=folder / "cut")
say(["right", result.correct])
train(MODEL, replace(ONE_STEP, sync_batchnorm={joined}), folder / "step", progress=False)
"""
ONE_STEP = replace(CONFIG, batch_size=1437, validation=0, weight_decay=0.0)


def by_hand(joined: bool) -> dict[str, torch.Tensor]:
    """One step of plain SGD on both shares, without Lightning, Learner or processes."""
    model = build(MODEL, ONE_STEP.seed)
    whole = next(iter(feed_digits(MODEL, ONE_STEP, World()).training))
    count = len(whole[1])
    parts = [slice(None)] if joined else [World(rank, 2).share(count) for rank in range(2)]
    first = None
    for part in parts:
        x, y = whole[0][:, part], whole[1][part]
        logits = model(x)
        main = logits["main"] + 0.25 * sum(v for k, v in logits.items() if "shortcut" in k)
        loss = cross_entropy(main, y, label_smoothing=0.1)
        loss = loss + cross_entropy(logits["aap"], y, label_smoothing=0.1)
        (loss * len(y) / count).backward()
        first = first or {k: v.clone() for k, v in model.named_buffers()}
        if not joined:  # each process starts from the same statistics; the first one's are kept
            model.load_state_dict(build(MODEL, ONE_STEP.seed).state_dict())
    stepped = {k: (p - 0.1 * p.grad).detach() for k, p in model.named_parameters()}
    return {**stepped, **(first or {})}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("joined", [True, False])
def test_two_processes_stop_and_resume_with_and_without_joined_statistics(tmp_path, joined):
    script = tmp_path / "train.py"
    script.write_text(SEQUENCE.format(tests=TESTS, folder=str(tmp_path), joined=joined))
    printed = launch(1, script)
    whole, cut, step = (load_checkpoint(tmp_path / n / "model") for n in ("whole", "cut", "step"))
    right = whole.metrics["correct"]
    assert sorted(printed) == [f"['right', {right}]"] * 2 + ["['stopped', True]"] * 2
    ours, theirs = whole.model.state_dict(), cut.model.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    expected, found = by_hand(joined), step.model.state_dict()
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)
