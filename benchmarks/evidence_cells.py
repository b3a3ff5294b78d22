"""The trainings that benchmarks/evidence.py compares: networks, methods, variants, and a queue.

``shallow`` has 4 blocks (9 convolutions) and starts as identity mappings (zero-init), where
training on spikes alone is slow; ``narrow`` is the same with fewer channels, for the four times
larger event frames. ``deep`` has 16 blocks (33 convolutions and the shortcut's; 34 layers with the
classifier) and starts from random weights, as the AAP paper's released command does;
``deep-identity`` starts as identity mappings. ``demo`` is the demonstration network. On
``mnist-5k`` the networks are ``10``, ``18`` and ``34`` layers deep, from random weights; trainings
there take equally many steps (8 epochs of 140), whatever they reach, but where a row says other
epochs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from purespike.trainer.data.config import DataConfig
from purespike.trainer.networks.configuration import ModelConfig, NeuronConfig
from purespike.trainer.networks.models import build
from purespike.trainer.nn.auxiliary import BalanceSchedule
from purespike.trainer.nn.surrogate import Rectangular, Shaped
from purespike.trainer.training.gradients import tune_width
from purespike.trainer.training.presets import DEMO
from purespike.trainer.training.recipe import Recipe
from purespike.trainer.training.scan import first_batch
from purespike.trainer.training.settings import TrainConfig

__all__ = [
    "CONSTANT",
    "DATA",
    "GATES",
    "GRID",
    "METHODS",
    "MNIST",
    "NAMES",
    "NETWORKS",
    "VARIANTS",
    "Cell",
    "queue",
    "settings",
]

CONSTANT = BalanceSchedule(1.0, "constant")
EVOLUTIONARY = BalanceSchedule(0.25, "linear")
# name: (accumulation pathway, shortcut branches, their balance coefficient)
METHODS = {
    "vanilla": (False, False, EVOLUTIONARY),
    "shortcut": (False, True, CONSTANT),
    "shortcut + evolutionary": (False, True, EVOLUTIONARY),
    "AAP": (True, False, EVOLUTIONARY),
    "AAP + evolutionary": (True, True, EVOLUTIONARY),
}
GATES = ("iand", "and", "or", "xor", "sn")
# InfLoR's neuron: fires at 0.5, subtracts 1, and gradients pass where the membrane is in [0, 1].
HALF = NeuronConfig(threshold=0.5, reset="subtract", amount=1.0, surrogate=Rectangular(1.0))
# name: what is different in the network, everything else equal. ``tuned`` is a surrogate whose
# width keeps the size of gradients in the untrained network.
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "tuned": {},
    "soft reset": {"neuron": NeuronConfig(reset="subtract")},
    "threshold 0.5": {"neuron": NeuronConfig(threshold=0.5)},
    "inflor": {"neuron": HALF},
    "inflor + rectificator": {"neuron": replace(HALF, rectified=True)},
    "identity": {"zero_init_residual": True},
    **{
        f"width {w:g}": {"neuron": NeuronConfig(surrogate=Shaped("arctan", w))}
        for w in (0.45, 0.9, 1.3)
    },
    "identity, threshold 0.5": {
        "zero_init_residual": True,
        "neuron": NeuronConfig(threshold=0.5),
    },
    # Counts up to 4 a step; logical gates take spikes only.
    "I-LIF": {"neuron": NeuronConfig(levels=4, reset="subtract")},
}
NAMES = ("data", "network", "gate", "method", "variant", "seed", "epochs", "part")
Cell = tuple[str, str, str, str, str, int, int, str]
PLAIN, ALL = ("vanilla", "AAP"), tuple(METHODS)


@dataclass(frozen=True)
class Part:
    """Cells of the map of depths on MNIST: every combination is a training."""

    depths: tuple[str, ...]
    gates: tuple[str, ...]
    methods: tuple[str, ...]
    variants: tuple[str, ...] = ("",)
    seeds: tuple[int, ...] = (0,)
    epochs: int = 8
    data: str = "mnist-5k"


OTHERS = ("sn", "iand", "xor", "and")
BRANCHES = ("shortcut", "shortcut + evolutionary", "AAP + evolutionary")
# In the order of worth: a machine is interrupted somewhere.
QUEUE = (
    Part(("34", "18", "10"), ("or", *OTHERS), PLAIN),
    Part(("34",), ("or",), ALL),
    Part(("34",), ("or",), PLAIN, seeds=(1, 2)),
    Part(("34",), ("iand", "xor"), ("AAP",), seeds=(1, 2)),
    Part(("34",), ("iand", "xor"), ("vanilla",), ("width 0.45",)),
    Part(("34",), ("and",), ("vanilla",), ("identity, threshold 0.5",)),
    Part(("34",), ("iand",), ("vanilla",), ("width 0.9",)),
    Part(("34",), ("iand",), ("shortcut",)),
    Part(("34",), ("xor", "sn"), ("vanilla",), ("width 0.9",)),
    Part(("34",), ("iand",), ("vanilla",), ("width 1.3", "threshold 0.5")),
    Part(("34",), ("xor", "sn"), ("shortcut",)),
    Part(("34",), ("or",), ("vanilla",), ("width 0.9", "soft reset")),
    Part(("10",), ("or",), ("AAP",), epochs=24),
    Part(("34",), ("sn",), ("vanilla",), ("I-LIF",)),
    Part(("34",), ("or",), ("vanilla",), ("inflor", "inflor + rectificator")),
    Part(("18",), ("or",), ("AAP",), epochs=24),
    Part(("34",), ("sn",), ("vanilla",), ("I-LIF",), seeds=(1, 2)),
    Part(("34",), ("sn",), ("shortcut",), seeds=(1, 2)),
    Part(("34",), ("iand",), ("vanilla",), ("", "width 0.9"), seeds=(1, 2)),
    Part(("34",), ("sn", "iand"), ("AAP + evolutionary",)),
    Part(("34",), ("and",), ("shortcut",)),
    Part(("34",), ("or",), PLAIN, seeds=(0, 1, 2), epochs=24),
    Part(("34",), ("sn", "iand", "xor"), ("vanilla",), epochs=24),
    Part(("34",), ("iand", "xor"), ("AAP",), epochs=24),
    Part(("34",), ("sn",), ("shortcut",), epochs=24),
    Part(("34",), ("sn", "iand", "xor"), ALL),
    Part(("10",), ("iand", "sn", "xor", "and"), ("shortcut",)),
    Part(("34", "10", "18"), ("or", *OTHERS), ALL),
    Part(("10", "34"), ("or",), PLAIN, data="mnist-5k-events"),
    Part(("34",), ("and",), ("AAP",), ("identity, threshold 0.5",)),
    Part(("34",), ("xor", "or"), ("vanilla",), ("threshold 0.5",)),
    Part(("34",), ("xor",), ("vanilla",), seeds=(1, 2)),
    Part(("34",), ("sn",), ("AAP",), seeds=(1, 2)),
    Part(("34",), ("or",), ("vanilla",), ("width 1.3", "identity")),
    Part(("34",), ("sn",), ("AAP",), ("I-LIF",)),
    Part(("34",), ("sn",), ("vanilla",), ("width 0.45", "tuned")),
    Part(("34",), ("or",), BRANCHES, seeds=(1, 2)),
    Part(("34",), ("sn", "and"), ("vanilla",), seeds=(1, 2)),
    Part(("34",), ("or",), ("AAP",), ("soft reset", "inflor", "threshold 0.5")),
    Part(("10", "18"), ("or", "iand", "xor", "sn"), PLAIN, seeds=(1, 2)),
    Part(("34",), ("or",), PLAIN, ("tuned",)),
    Part(("34",), ("and",), PLAIN, ("identity", "threshold 0.5")),
    Part(("34", "18", "10"), ("or", *OTHERS), ALL, seeds=(1, 2)),
)


@dataclass(frozen=True)
class Kind:
    """A network of the comparison: its blocks, and how long it is trained on each data set."""

    widths: tuple[int, ...]
    strides: tuple[int, ...]
    zero_init: bool
    epochs: dict[str, int]


def layers(depth: int) -> Kind:
    """Blocks of two convolutions between stem and classifier, on 14 x 14, 7 x 7 and 4 x 4."""
    blocks = (depth - 2) // 2
    part = max(1, blocks // 4)
    last = blocks - 2 * part
    widths = (8,) * part + (12,) * part + (16,) * last
    strides = tuple(2 if i in (0, part, 2 * part) else 1 for i in range(blocks))
    return Kind(widths, strides, zero_init=False, epochs={"mnist-5k": 8, "mnist-5k-events": 8})


NARROW, DEEP = (8, 8, 16, 16), (8,) * 8 + (16,) * 8
LONG = {"digits": 24, "event_digits": 8}
HALVED = (1,) * 8 + (2,) + (1,) * 7
NETWORKS = {
    "shallow": Kind((12, 12, 24, 24), (1, 1, 2, 1), zero_init=True, epochs=LONG),
    "narrow": Kind(NARROW, (1, 1, 2, 1), zero_init=True, epochs=LONG),
    "deep": Kind(DEEP, HALVED, zero_init=False, epochs={"digits": 10, "event_digits": 4}),
    "deep-identity": Kind(DEEP, HALVED, zero_init=True, epochs={"digits": 8, "event_digits": 4}),
    **{str(depth): layers(depth) for depth in (10, 18, 34)},
}
# name: (data, input channels, image side, T); None is the digits in bit planes.
DATA: dict[str, tuple[DataConfig | None, int, int, int]] = {
    "digits": (None, 5, 8, 4),
    "event_digits": (DataConfig("event_digits", augment=("roll:1",)), 2, 16, 5),
    "mnist-5k": (DataConfig("mnist-5k", augment=("crop:2",)), 8, 28, 2),
    "mnist-5k-events": (DataConfig("mnist-5k-events", augment=("roll:1",)), 2, 34, 4),
}
MNIST = ("mnist-5k", "mnist-5k-events")
GRID = {
    "digits": ("shallow", "deep"),
    "event_digits": ("narrow", "deep"),
    "mnist-5k": ("10", "18", "34"),
    "mnist-5k-events": ("18",),
}


def settings(
    data: str, network: str, gate: str, method: str, variant: str, seed: int, epochs: int, part: str
) -> Recipe:
    """What one training is: its network, how it is trained, and on what."""
    aap, shortcut, balance = METHODS[method]
    source, channels, side, steps = DATA[data]
    model = replace(DEMO.model, gate=gate, aap=aap, shortcut=shortcut)
    if network != "demo":
        kind = NETWORKS[network]
        # An event frame has four times the pixels: the first block halves it.
        strides = (2, *kind.strides[1:]) if side == 16 else kind.strides
        model = replace(model, stem=8, widths=kind.widths, strides=strides)
        model = replace(model, zero_init_residual=kind.zero_init)
    model = replace(model, in_channels=channels, size=(side, side), steps=steps)
    model = replace(model, **VARIANTS[variant])
    config = replace(DEMO.train, epochs=epochs, integer_epochs=0, seed=seed, balance=balance)
    if source is not None:  # as in the recipe event-digits
        config = replace(config, shift=False)
        if data in MNIST:
            config = replace(config, batch_size=25, channels_last=True)
            source = replace(source, held_out=part)
    elif network != "demo":
        config = replace(config, batch_size=64)
    if variant == "tuned":
        model = replace(model, neuron=replace(model.neuron, surrogate=tuned(model, config, source)))
    return Recipe(model, config, source)


def tuned(model: ModelConfig, config: TrainConfig, source: DataConfig | None) -> Shaped:
    """A surrogate of height 1 with the width at which gradients keep their size, on one batch."""
    bare = replace(model, aap=False, shortcut=False)
    batch = first_batch(Recipe(bare, config, source), 64)
    found = tune_width(build(bare, config.seed), Shaped("arctan", 0.6), *batch).surrogate
    assert isinstance(found, Shaped)
    return replace(found, width=float(f"{found.width:.4g}"))


def queue() -> Iterator[Cell]:
    """The cells of the map, in the order of worth."""
    for p in QUEUE:
        for cell in product(p.depths, p.gates, p.variants, p.seeds, p.methods):
            depth, gate, variant, seed, method = cell
            yield p.data, depth, gate, method, variant, seed, p.epochs, "validation"
