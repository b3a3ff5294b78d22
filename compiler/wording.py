"""Advice that names options, in the words of the interface that its reader uses.

``Advice("state {steps}")`` reads "state --steps N" on the command line and "state steps=N" in
Python. A report, which readers of both may open, says both.
"""

from __future__ import annotations

import re
from typing import Literal

Interface = Literal["command line", "python"]

# By the name that code gives to a choice: the option of the command line, the words of Python.
WORDS: dict[str, tuple[str, str]] = {
    "dt": ("--dt SECONDS", "dt=SECONDS"),
    "steps": ("--steps N", "steps=N"),
    "reset": ("--reset zero|subtract", "reset='zero' or reset='subtract'"),
    "if_r": ("--if-r step|dt", "if_r='step' or if_r='dt'"),
    "current": ("--current new|previous", "current='new' or current='previous'"),
    "recurrent_bias": (
        "--recurrent-bias always|delayed",
        "recurrent_bias='always' or recurrent_bias='delayed'",
    ),
    "fires": ("--fires above|at", "fires='above' or fires='at'"),
    "feedback": ("--feedback previous", "feedback='previous'"),
    "domain": ("--spike-input", "spike_input=True (of read_nir: domain=SPIKE)"),
    "spike_input": ("--spike-input", "spike_input=True"),
    "shape": ("--shape C,H,W", "shape=(C, H, W)"),
    "data": ("--data FILE.npz", "data=Path('FILE.npz')"),
    "trust": ("--trust", "trust=True"),
    "host_encoder": ("--host-encoder", "Options(host_encoder=True)"),
    "leaky": ("--policy leaky", "Options(policy=read_policy('leaky'))"),
    "policy": ("--policy FILE.toml", "Options(policy=read_policy('FILE.toml'))"),
    "waivers": ("--waivers FILE.toml", "Options(waivers=...)"),
    "golden": ("--samples N", "Options(golden=N)"),
    "lava_samples": ("--samples N", "Options(lava_samples=N)"),
    "weight_bits": ("--bits N", "Options(weight_bits=N)"),
    "qat": ("--qat EPOCHS", "Options(qat=EPOCHS)"),
    "calibration": ("--calibration", "Options(calibration=...)"),
    "fit_membranes": ("--fit-membranes", "Options(fit_membranes=True)"),
    "levels": ("--levels N", "Options(levels=N)"),
    "per_channel": ("--per-channel", "Options(per_channel=True)"),
    "lava": ("--lava (of compile: --lava fast)", "Options(lava='fast')"),
    "onnx": ("--onnx step", "Options(onnx='step')"),
    "nir_strict": ("--nir-strict", "Options(nir_strict=True)"),
    "compile": ("`purespike compile NETWORK`", "purespike.compile(network)"),
    "resume": ("--resume", "resume_from=..."),
    "epoch": ("--epoch N", "epoch=N"),
    "device": ("--set train.device=cpu", "device='cpu'"),
    "shards": ("--shards FOLDER", "shards=Path('FOLDER')"),
    "jobs": ("--jobs N", "jobs=N"),
    "c": ("--c", "Options(c=True)"),
    "c_ram": ("--c-ram BYTES", "Options(c_ram=BYTES)"),
    "reader": ("leave out --for", "export_nir(..., reader=None)"),
    "netx": ("--netx", "Options(netx=True)"),
}
_SLOT = re.compile(r"\{(\w+)\}")


def option(name: str, interface: Interface) -> str:
    """How a choice is stated; one that is not in the table by its bare name."""
    if name in WORDS:
        return WORDS[name][interface == "python"]
    return f"{name}=..." if interface == "python" else f"--{name.replace('_', '-')} ..."


class Advice(str):
    """A text in which ``{name}`` stands for a choice of `WORDS`.

    As plain text it says both: "state --steps N (in Python: steps=N)".
    """

    template: str

    def __new__(cls, template: str) -> Advice:
        """Keep the template beside the text."""
        text = super().__new__(cls, _SLOT.sub(lambda m: _both(m[1], m[0]), template))
        text.template = template
        return text

    def __getnewargs__(self) -> tuple[str]:
        return (self.template,)

    def spoken(self, interface: Interface) -> str:
        """The text for the readers of one interface."""
        return _SLOT.sub(
            lambda m: option(m[1], interface) if m[1] in WORDS else m[0], self.template
        )


def spoken(text: str, interface: Interface) -> str:
    """The words of an interface, where a text has them."""
    return text.spoken(interface) if isinstance(text, Advice) else text


def _both(name: str, slot: str) -> str:
    if name not in WORDS:
        return slot
    flag, python = WORDS[name]
    return f"{flag} (in Python: {python})"


QUANTIZE = Advice("quantize it for this target: {compile}")
RUN_LAVA = Advice("run Lava, too: {lava}")


def figure(x: float, decimals: int = 0, sign: str = "") -> str:
    """A number with its thousands apart; a small one by two digits: only nothing prints as 0."""
    if x and abs(x) < 10.0**-decimals:
        return f"{x:{sign}.2g}"
    return f"{x:{sign},.{decimals}f}"
