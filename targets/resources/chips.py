"""What the chips hold: every value with its unit and where it was published.

No value was measured on silicon. What no public source states is ``None``, and shown as such.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Value:
    """A published limit; ``value`` None is one that is not published."""

    value: int | None
    unit: str
    source: str

    def __str__(self) -> str:
        return "not published" if self.value is None else f"{self.value} {self.unit}"


@dataclass(frozen=True)
class Chip:
    """One chip.

    Attributes:
        name: On the command line.
        title: In tables.
        cores: Neuro-cores of a chip that a network can have.
        neurons: Of a core.
        in_axons: Of a core: entries that receive the spikes of one source each.
        out_axons: Of a core: entries that send the spikes of one neuron to one core each.
        memory: For synapses, of a core.
        thresholds: Distinct firing thresholds of a core.
        weight_bits: Of a weight, its sign included where a layer mixes signs.
        bias: Largest magnitude, in units of a weight.
        threshold: Highest firing threshold (for ``>=``), in units of a weight.
        delay: Longest delay of a synapse.
        soft_reset: Whether neurons can subtract at a reset: 1 yes, 0 no.
        formats: Widths of a weight that the synaptic memory can hold.
        notes: What a reader has to know beside the values.
    """

    name: str
    title: str
    cores: Value
    neurons: Value
    in_axons: Value
    out_axons: Value
    memory: Value
    thresholds: Value
    weight_bits: Value
    bias: Value
    threshold: Value
    delay: Value
    soft_reset: Value
    formats: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8)
    notes: tuple[str, ...] = ()

    def values(self) -> dict[str, Value]:
        """Every limit by name."""
        pairs = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {name: value for name, value in pairs if isinstance(value, Value)}

    def unpublished(self) -> tuple[str, ...]:
        """Names of the limits that no public source states."""
        return tuple(name for name, value in self.values().items() if value.value is None)


_BLOCK = "nengo-loihi, block.py"
_DISCRETIZE = "nengo-loihi, discretize.py"
_LAVA = "lava-nc 0.10.0"
_SHARED = (
    "a core holds neurons of one layer only",
    "zero weights take memory; index bits of sparse formats and copies of kernels that the border "
    "cuts are not counted",
    "nengo-loihi's own check lets networks through that run out of axon configurations "
    "(its issue 326): a network that fits here may still not fit there",
)

LOIHI1 = Chip(
    name="loihi1",
    title="Loihi 1",
    cores=Value(128, "cores a chip", f"{_LAVA}, magma/compiler/subcompilers/constants.py"),
    neurons=Value(1024, "neurons per core", f"{_BLOCK}: 1024 compartments"),
    in_axons=Value(4096, "input axons per core", _BLOCK),
    out_axons=Value(4096, "output axons per core", _BLOCK),
    memory=Value(131072, "bytes per core", f"{_BLOCK}: 16384 words of 64 bits"),
    thresholds=Value(
        8,
        "thresholds per core",
        "nengo-loihi, nxsdk_objects.py; its validate.py says 16, unchecked",
    ),
    weight_bits=Value(8, "bits", f"{_BLOCK}; brian2_loihi, loihi_synapses.py"),
    bias=Value(4095, "weights", f"{_DISCRETIZE}: mantissa of 12 bits and sign"),
    threshold=Value(131072, "weights", f"{_DISCRETIZE}: mantissa up to 131071, fires on >"),
    delay=Value(62, "steps", "brian2_loihi, loihi_synapses.py"),
    soft_reset=Value(0, "(1 is yes)", "nengo-loihi, pull request 276: not available on Loihi"),
    notes=_SHARED,
)

LOIHI2 = Chip(
    name="loihi2",
    title="Loihi 2",
    cores=Value(
        120, "cores a chip", f"{_LAVA}, subcompilers/constants.py: 120 of 128 cores are mapped"
    ),
    neurons=Value(8192, "neurons per core", "1,048,576 per chip of 128 cores (WikiChip); fewer "
                  "with more state per neuron"),
    in_axons=Value(None, "input axons per core", "not published"),
    out_axons=Value(None, "output axons per core", "not published"),
    memory=Value(196608, "bytes per core", "192 KB, from a secondary source only; a pool that "
                 "other state of the core shares"),
    thresholds=Value(None, "thresholds per core", "not published"),
    weight_bits=Value(8, "bits", f"{_LAVA}, Dense (bit_accurate_loihi)"),
    bias=Value(4095, "weights", f"{_LAVA}, LIF: mantissa of 12 bits and sign"),
    threshold=Value(131072, "weights", f"{_LAVA}, LIF: mantissa up to 131071, fires on >"),
    delay=Value(62, "steps", f"{_LAVA}: 6 bits; lava-dl's netx clips at 62"),
    soft_reset=Value(1, "(1 is yes)", "neurons are programmable (Lava documentation)"),
    notes=_SHARED,
)  # fmt: skip

CHIPS = {chip.name: chip for chip in (LOIHI2, LOIHI1)}
