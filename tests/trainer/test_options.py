"""Threads, precision, clipping, schedules, early stop, logs, activation checkpointing."""

import csv
import math
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from purespike.compiler.native import level
from purespike.trainer.data import digits, loader
from purespike.trainer.errors import CheckpointError, ConfigError, TrainingInterrupted
from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build
from purespike.trainer.nn.neuron import LIF, Neuron
from purespike.trainer.nn.synapses import available
from purespike.trainer.training import fit as fit_module
from purespike.trainer.training import lightning_setup, processor
from purespike.trainer.training.checkpoint import load_checkpoint
from purespike.trainer.training.fit import train
from purespike.trainer.training.learner import Learner
from purespike.trainer.training.lightning_setup import (
    SlowPrecisionWarning,
    ThreadsWarning,
    warn_of_slow_precision,
)
from purespike.trainer.training.losses import total_loss
from purespike.trainer.training.processor import (
    bf16_factor,
    for_this_processor,
    multiplies_bf16,
)
from purespike.trainer.training.recompute import blocks, recompute
from purespike.trainer.training.settings import TrainConfig, learning_rate

MODEL = ModelConfig(5, 10, steps=2, stem=4, widths=(4, 6), strides=(2, 1))
CONFIG = TrainConfig(epochs=2, batch_size=128, learning_rate=0.1, seed=3)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "model").model.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "log" / "version_0" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def cut_short(monkeypatch, config: TrainConfig, folder: Path, epoch: int) -> None:
    """Train until the user stops it in this epoch."""
    original = Learner.training_step

    def step(self, batch, batch_idx):
        if self.current_epoch == epoch and batch_idx == 1:
            raise KeyboardInterrupt
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "training_step", step)
        with pytest.raises(TrainingInterrupted):
            train(MODEL, config, folder, progress=False)


def test_a_resumed_training_runs_on_the_threads_it_was_started_with(tmp_path, threads, monkeypatch):
    seen = []
    original = Learner.training_step

    def step(self, batch, batch_idx):
        seen.append(torch.get_num_threads())
        return original(self, batch, batch_idx)

    config = replace(CONFIG, batch_size=479)
    torch.set_num_threads(2)
    train(MODEL, config, tmp_path / "whole", progress=False)
    cut_short(monkeypatch, config, tmp_path / "cut", epoch=1)
    torch.set_num_threads(1)
    monkeypatch.setattr(Learner, "training_step", step)
    with pytest.warns(ThreadsWarning, match="resuming on 2 torch threads.*not the 1"):
        train(MODEL, config, tmp_path / "cut", resume_from=tmp_path / "cut", progress=False)
    assert set(seen) == {2} and torch.get_num_threads() == 1
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        # By hand: i iterations of 4 an epoch, 3 epochs.
        ({}, lambda i: 0.05 * (1 + math.cos(math.pi * i / 12))),
        (
            {"warmup": 1, "final_learning_rate": 0.02},
            lambda i: (
                0.1 * (0.01 + 0.99 * i / 4)
                if i < 4
                else 0.02 + 0.04 * (1 + math.cos(math.pi * (i - 4) / 8))
            ),
        ),
        ({"schedule": "step", "step_epochs": 2}, lambda i: 0.1 if i < 8 else 0.01),
        ({"schedule": "constant"}, lambda i: 0.1),
    ],
)
def test_the_learning_rate_follows_its_schedule(change, expected):
    config = TrainConfig(epochs=3, learning_rate=0.1, **change)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], config.learning_rate)
    schedule = learning_rate(optimizer, config, iterations=12)
    for i in range(12):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(expected(i), abs=1e-12)
        parameter.grad = torch.ones(1)
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "fp8"},
        {"device": "tpu"},
        {"schedule": "exponential"},
        {"warmup": 2},
        {"gradient_clip": 0.0},
        {"final_learning_rate": 0.2},
        {"patience": 3},
        {"workers": -1},
    ],
)
def test_impossible_options_are_refused(change):
    with pytest.raises(ConfigError, match=f"TrainConfig.{next(iter(change))}="):
        replace(CONFIG, **change)


def test_a_missing_device_or_package_is_one_clear_error(tmp_path, monkeypatch):
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="train on the CPU"):
            train(MODEL, replace(CONFIG, device="cuda"), tmp_path, progress=False)
    monkeypatch.setattr(fit_module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"purespike\[train\]"):
        train(MODEL, CONFIG, tmp_path, progress=False, tensorboard=True)
    assert not (tmp_path / "model").exists()


def test_clipping_bounds_the_step_and_the_log_shows_the_norm_before(tmp_path):
    config = replace(
        CONFIG,
        epochs=1,
        batch_size=1437,
        gradient_clip=1e-3,
        weight_decay=0.0,
        optimizer="sgd",
        schedule="constant",
    )
    start = build(MODEL, config.seed).state_dict()
    result = train(MODEL, config, tmp_path, progress=False)
    trained = dict(result.model.named_parameters())
    moved = math.sqrt(sum(float((trained[k].detach() - start[k]).square().sum()) for k in trained))
    # One step of plain SGD: the learning rate times the clipped gradient.
    assert moved == pytest.approx(0.1 * 1e-3, rel=1e-3)
    (row,) = rows(tmp_path)
    assert float(row["first_layer_gradient_norm"]) > 1e-3
    assert float(row["gradient/stem.0"]) == float(row["first_layer_gradient_norm"])


def test_every_layer_of_the_deployed_part_has_its_gradient_norm_logged(tmp_path):
    train(MODEL, replace(CONFIG, epochs=1), tmp_path, progress=False)
    logged = [name.removeprefix("gradient/") for name in rows(tmp_path)[0] if "gradient/" in name]
    expected = ["stem.0", "blocks.0.conv1", "blocks.0.conv2", "blocks.0.identity.0"]
    assert {*expected, "blocks.1.conv1", "blocks.1.conv2", "fc"} <= set(logged)
    assert not any("aap" in name or "branches" in name for name in logged)


def test_it_stops_when_validation_gets_no_better(tmp_path, monkeypatch):
    accuracies = iter([0.5, 0.6, 0.6, 0.55, 0.9])
    monkeypatch.setattr(
        Learner, "on_validation_epoch_end", lambda self: self.log("val_accuracy", next(accuracies))
    )
    config = replace(CONFIG, epochs=5, batch_size=600, validation=200, patience=2)
    train(MODEL, config, tmp_path, progress=False)
    assert [row["epoch"] for row in rows(tmp_path) if row["loss"]] == ["0", "1", "2", "3"]


def test_tensorboard_holds_what_the_csv_holds(tmp_path):
    train(MODEL, replace(CONFIG, epochs=1), tmp_path, progress=False, tensorboard=True)
    (events,) = (tmp_path / "tensorboard" / "version_0").glob("events.out.*")
    written = events.read_bytes()
    names = [name for name in rows(tmp_path)[0] if name not in ("epoch", "step")]
    assert len(names) > 10 and all(name.encode() in written for name in names)


def test_mixed_precision_keeps_membranes_and_weights_in_32_bits(tmp_path, monkeypatch):
    seen = {}
    original = LIF.__mro__[1].forward  # Neuron

    def forward(self, x, steps=None):
        spikes = original(self, x, steps)
        seen[self.training] = (x.dtype, spikes.dtype)
        return spikes

    monkeypatch.setattr(LIF.__mro__[1], "forward", forward)
    config = replace(CONFIG, precision="bf16", batch_size=256)
    result = train(MODEL, config, tmp_path, progress=False)
    assert seen[True] == (torch.bfloat16, torch.bfloat16)
    assert seen[False] == (torch.float32, torch.float32)  # the test, as it is deployed
    assert all(p.dtype == torch.float32 for p in result.model.parameters())
    losses = [float(row["loss"]) for row in rows(tmp_path)]
    full = train(MODEL, replace(config, precision="float32"), tmp_path / "full", progress=False)
    assert losses[-1] == pytest.approx(float(rows(tmp_path / "full")[-1]["loss"]), rel=0.15)
    assert not same(weights(tmp_path), full.model.state_dict())


def test_a_neuron_on_half_precision_computes_as_on_whole():
    torch.manual_seed(0)
    x = torch.randn(6, 3, 50).bfloat16()
    half, whole = LIF()(x), LIF()(x.float())
    assert half.dtype == torch.bfloat16 and torch.equal(half.float(), whole)


@pytest.mark.parametrize("gate", ["or", "sn"])
def test_recomputed_activations_give_the_same_gradients_and_statistics(gate):
    images, labels = digits().train_images[:64], digits().train_labels[:64]
    spikes, truth = next(iter(loader(images, labels, "bit_plane", 3, batch_size=64)))
    model = build(replace(MODEL, gate=gate, steps=3), seed=1)
    again = build(replace(MODEL, gate=gate, steps=3), seed=1)
    assert [name for name, _ in blocks(model)] == ["blocks.0", "blocks.1"]

    def step(network):
        loss = total_loss(network(spikes), truth, balance=0.5, fusion="logit")
        loss.backward()
        return float(loss.detach())

    plain = step(model)
    with recompute(again):
        assert step(again) == plain
    assert all(
        torch.equal(p.grad, q.grad)
        for p, q in zip(model.parameters(), again.parameters(), strict=True)
    )
    assert same(model.state_dict(), again.state_dict())
    assert not any("forward" in vars(module) for module in again.modules())


MEMORY = """
import sys, torch
from contextlib import nullcontext
from pathlib import Path
from purespike.trainer.networks.configuration import ModelConfig
from purespike.trainer.networks.models import build
from purespike.trainer.training.recompute import recompute

def kib(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0])

def step(again):
    with recompute(model) if again else nullcontext():
        model(x)["main"].sum().backward()

config = ModelConfig(2, 10, steps=16, size=(16, 16), stem=16, widths=(16,) * 10,
                     strides=(1,) * 10, aap=False, shortcut=False)
model = build(config, 0)
x = (torch.rand(16, 4, 2, 16, 16) < 0.2).float()
step(True)  # kernels, gradients
Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
before = kib("VmRSS")
step(sys.argv[1] == "yes")
print(kib("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_recomputed_activations_take_less_than_half_the_memory():
    def peak(recomputed: str) -> int:  # KiB
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, recomputed],
            env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},  # free means given back
            capture_output=True,
            text=True,
            timeout=200,
            check=True,
        )
        return int(done.stdout)

    kept, recomputed = peak("no"), peak("yes")
    assert 0 < recomputed < 0.5 * kept, (kept, recomputed)


CPUS = {
    "flags\t\t: fpu sse avx2 avx512f avx512_bf16": True,
    "flags\t\t: fpu avx2 amx_bf16 amx_tile": True,
    "Features\t: fp asimd bf16": True,
    "flags\t\t: fpu sse avx2 avx512f avx512_vnni": False,
    "Features\t: fp asimd": False,
    "model name\t: bf16\nflags\t\t: fpu avx2": False,
}


@pytest.mark.parametrize("cpuinfo", CPUS)
def test_whether_the_processor_multiplies_bfloat16(tmp_path, cpuinfo):
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo + "\n")
    assert multiplies_bf16(file, {}) is CPUS[cpuinfo]
    assert multiplies_bf16(file, {"ONEDNN_MAX_CPU_ISA": "avx2"}) is False
    assert multiplies_bf16(file, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_AMX"}) is CPUS[cpuinfo]
    assert multiplies_bf16(tmp_path / "none", {}) is None


def test_bfloat16_where_it_is_slow_is_said(monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
        warn_of_slow_precision(CONFIG)
        half = replace(CONFIG, precision="bf16")
        for factor, says in (
            (7.44, r"7\.4 times as long.*train\.precision=float32, or auto"),
            (0.9, ""),
        ):
            monkeypatch.setattr(lightning_setup, "bf16_factor", lambda factor=factor: factor)
            if not says:  # unknown instructions, and faster all the same
                warn_of_slow_precision(half)
                continue
            with pytest.raises(SlowPrecisionWarning, match=says):
                warn_of_slow_precision(half)


def test_the_factor_of_bfloat16_is_measured_and_draws_nothing():
    state = torch.get_rng_state()
    assert 0.05 < bf16_factor(2) < 100
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("fast", [True, False, None])
def test_auto_is_bfloat16_only_where_it_is_fast(fast, monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "multiplies_bf16", lambda: fast)
    chosen = for_this_processor(replace(CONFIG, precision="auto"))
    added = bool(level()) and not available()
    assert (chosen.precision, chosen.channels_last, chosen.spike_kernels) == (
        ("bf16", True, added) if fast else ("float32", added, added)
    )
    assert (
        for_this_processor(replace(CONFIG, precision="auto", device="cuda")).precision == "float32"
    )
    assert for_this_processor(CONFIG) is CONFIG
    monkeypatch.setattr(processor, "available", lambda: "no compiler")
    slow = for_this_processor(replace(CONFIG, precision="auto"))
    assert (slow.precision, slow.spike_kernels) == ("bf16" if fast else "float32", False)


def test_a_checkpoint_says_what_auto_was(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "multiplies_bf16", lambda: False)
    auto = replace(CONFIG, epochs=1, batch_size=512, precision="auto")
    train(MODEL, auto, tmp_path, progress=False)
    chosen = load_checkpoint(tmp_path / "model").train_config
    assert chosen == for_this_processor(auto)
    assert chosen.precision == "float32"
    monkeypatch.setattr(processor, "multiplies_bf16", lambda: True)
    with pytest.raises(CheckpointError, match="another training"):
        train(MODEL, auto, tmp_path, resume_from=tmp_path, progress=False)


def test_training_with_recomputed_activations_is_the_same_training(tmp_path):
    train(MODEL, CONFIG, tmp_path / "plain", progress=False)
    train(MODEL, replace(CONFIG, recompute=True), tmp_path / "again", progress=False)
    assert same(weights(tmp_path / "plain"), weights(tmp_path / "again"))


def test_channels_last_reaches_the_neurons_and_changes_rounding_only(tmp_path, monkeypatch):
    losses, formats = {}, set()
    step = Learner.training_step

    def observed(self, batch, batch_idx):
        neurons = [m for m in self.model.modules() if isinstance(m, Neuron)]
        marks = [n.register_forward_hook(lambda m, x, y: formats.add(dense(x[0]))) for n in neurons]
        loss = step(self, batch, batch_idx)
        losses.setdefault(self.config.channels_last, float(loss.detach()))
        for mark in marks:
            mark.remove()
        return loss

    def dense(x: torch.Tensor) -> bool:
        return x.flatten(0, -4).is_contiguous(memory_format=torch.channels_last)

    monkeypatch.setattr(Learner, "training_step", observed)
    train(MODEL, replace(CONFIG, epochs=1), tmp_path / "plain", progress=False)
    assert formats == {False}
    formats.clear()
    config = replace(CONFIG, epochs=1, channels_last=True)
    train(MODEL, config, tmp_path / "last", progress=False)
    assert formats == {True}
    assert losses[True] == pytest.approx(losses[False], abs=1e-5)
    assert all(w.is_contiguous() for w in weights(tmp_path / "last").values())


def test_the_new_options_warn_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = replace(
            CONFIG,
            epochs=2,
            warmup=1,
            gradient_clip=1.0,
            validation=100,
            patience=1,
            recompute=True,
        )
        train(MODEL, config, tmp_path, progress=False, tensorboard=True)
