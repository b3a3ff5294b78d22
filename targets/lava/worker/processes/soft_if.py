"""Integrate-and-fire with a reset by subtraction, which stock Lava does not have.

Fixed point as in Lava's LIF: inputs, thresholds and biases are aligned by 6 bits, the membrane
potential has 24 bits and saturates, it fires on strict `>`, and a decay rounds towards zero.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

ALIGN = 6
DECAY_BITS = 12
V_MAX = (1 << 23) - 1


class SoftIF(AbstractProcess):
    """v <- clip(decay(v) + 64 * (a + bias)); s = v > 64 * vth; v <- v - 64 * amount * s."""

    def __init__(self, *, shape, vth, amount, bias, dv, reset_interval, reset_offset, name):
        super().__init__(
            shape=shape, reset_interval=reset_interval, reset_offset=reset_offset, name=name
        )
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        self.v = Var(shape=shape, init=0)
        self.vth = Var(shape=shape, init=vth)
        self.amount = Var(shape=shape, init=amount)
        self.bias = Var(shape=shape, init=bias)
        self.dv = Var(shape=(1,), init=dv)


@implements(proc=SoftIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySoftIF(PyLoihiProcessModel):
    """CPU model of `SoftIF`."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=1)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    vth: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=17)
    amount: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=17)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    dv: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=12)

    def run_spk(self):
        """One time step."""
        activation = self.a_in.recv().astype(np.int64)
        interval = self.proc_params["reset_interval"]
        # As in LIFReset: before integrating, and time_step counts from 1.
        if interval and (self.time_step - self.proc_params["reset_offset"]) % interval == 0:
            self.v[:] = 0
        decayed = np.abs(self.v).astype(np.int64) * ((1 << DECAY_BITS) - int(self.dv[0]))
        v = np.sign(self.v) * (decayed >> DECAY_BITS)
        v = np.clip(v + ((activation + self.bias) << ALIGN), -V_MAX, V_MAX)
        spikes = v > self.vth.astype(np.int64) << ALIGN
        # In place: a recorder reads the membrane through a reference to this array.
        self.v[:] = v - (spikes * self.amount.astype(np.int64) << ALIGN)
        self.s_out.send(spikes)
