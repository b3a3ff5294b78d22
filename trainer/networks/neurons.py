"""What describes the neurons of a network: spikes, or counts of several levels."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from purespike.trainer.errors import ConfigError
from purespike.trainer.nn.levels import ILIF
from purespike.trainer.nn.neuron import PLIF, Neuron
from purespike.trainer.nn.surrogate import ATan, Surrogate

__all__ = ["NeuronConfig"]


@dataclass(frozen=True)
class NeuronConfig:
    """The arguments of :class:`purespike.trainer.nn.neuron.Neuron`, shared by all layers.

    Attributes:
        learned_tau: Each layer learns its time constant (PLIF), from ``tau = 1 / input_scale`` on;
            ``decay`` must be ``1 - input_scale``.
        levels: D of :class:`purespike.trainer.nn.levels.ILIF`, which sends counts up to D in the
            place of spikes and always takes off what they are worth; 0 is a spiking neuron. Its
            gradient is that of a clamp, whatever ``surrogate`` is.
        learned_threshold: Each layer learns what one of its levels is worth, a power of two, from
            ``threshold`` on.
    """

    decay: float = 1.0
    input_scale: float = 1.0
    threshold: float = 1.0
    reset: str = "zero"
    amount: float | None = None
    surrogate: Surrogate = field(default_factory=ATan)
    detach_reset: bool = True
    rectified: bool = False
    learned_tau: bool = False
    levels: int = 0
    learned_threshold: bool = False

    def __post_init__(self) -> None:
        if self.levels < 0 or (self.learned_threshold and not self.levels):
            raise ConfigError(
                "a neuron that learns its threshold needs levels, one or more",
                found=f"levels {self.levels}, learned_threshold {self.learned_threshold}",
                allowed="levels >= 1 with learned_threshold, else 0 (spikes) or more",
                where="NeuronConfig(levels=...)",
                remedy="set levels = 4 in [model.neuron], or learned_threshold = false",
            )
        others = {
            "input_scale": self.input_scale != 1.0,
            "reset": self.reset != "subtract",
            "amount": self.amount not in (None, self.threshold),
            "rectified": self.rectified,
            "learned_tau": self.learned_tau,
        }
        if self.levels and any(others.values()):
            raise ConfigError(
                "a neuron of several levels has no such option",
                found=", ".join(f"{k} {getattr(self, k)!r}" for k, w in others.items() if w),
                allowed="reset 'subtract', input_scale 1, no amount, rectified or learned_tau",
                where=f"NeuronConfig(levels={self.levels})",
                remedy='write reset = "subtract" and what else differs, or levels = 0 for spikes',
            )

    def build(self) -> Neuron | ILIF:
        """Make one neuron layer.

        Raises:
            ConfigError: if a number is out of its range, or a time constant is to be learned of a
                neuron that has none.
        """
        if self.levels:
            return ILIF(
                self.levels,
                decay=self.decay,
                threshold=self.threshold,
                detach_reset=self.detach_reset,
                learned=self.learned_threshold,
            )
        levels = ("learned_tau", "levels", "learned_threshold")
        arguments = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in levels
        }
        if not self.learned_tau:
            return Neuron(**arguments)
        if self.decay + self.input_scale != 1.0 or self.input_scale >= 1.0:
            raise ConfigError(
                "only the time constant of a leaky neuron can be learned",
                found=f"decay {self.decay:g}, input_scale {self.input_scale:g}",
                allowed="decay = 1 - input_scale, input_scale < 1",
                where="NeuronConfig(learned_tau=True)",
                remedy="NeuronConfig(decay=0.5, input_scale=0.5, ...) starts at tau = 2",
            )
        del arguments["decay"], arguments["input_scale"]
        return PLIF(tau=1.0 / self.input_scale, **arguments)
