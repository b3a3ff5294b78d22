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
    """v <- clip(decay(v) + u + 64 * bias); s = v > 64 * vth; v <- v - 64 * amount * s.

    Before, u <- decay(u) + 64 * a, which keeps nothing of the old u at du = 4095.
    """

    def __init__(self, *, shape, vth, amount, bias, du, dv, reset_interval, reset_offset, name):
        super().__init__(
            shape=shape, reset_interval=reset_interval, reset_offset=reset_offset, name=name
        )
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        self.u = Var(shape=shape, init=0)
        self.v = Var(shape=shape, init=0)
        self.vth = Var(shape=shape, init=vth)
        self.amount = Var(shape=shape, init=amount)
        self.bias = Var(shape=shape, init=bias)
        self.du = Var(shape=(1,), init=du)
        self.dv = Var(shape=(1,), init=dv)


def faded(state, decay):
    """What one step leaves of a state, as Lava's LIF computes it."""
    left = np.abs(state).astype(np.int64) * ((1 << DECAY_BITS) - decay)
    return np.sign(state) * (left >> DECAY_BITS)


@implements(proc=SoftIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySoftIF(PyLoihiProcessModel):
    """CPU model of `SoftIF`."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=1)
    u: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    vth: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=17)
    amount: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=17)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=13)
    du: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=12)
    dv: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=12)

    def run_spk(self):
        """One time step."""
        activation = self.a_in.recv().astype(np.int64)
        interval = self.proc_params["reset_interval"]
        # As in LIFReset: before integrating, and time_step counts from 1.
        if interval and (self.time_step - self.proc_params["reset_offset"]) % interval == 0:
            self.u[:] = 0
            self.v[:] = 0
        self.u[:] = faded(self.u, int(self.du[0]) + 1) + (activation << ALIGN)
        v = faded(self.v, int(self.dv[0])) + self.u + (self.bias.astype(np.int64) << ALIGN)
        v = np.clip(v, -V_MAX, V_MAX)
        spikes = v > self.vth.astype(np.int64) << ALIGN
        # In place: a recorder reads the membrane through a reference to this array.
        self.v[:] = v - (spikes * self.amount.astype(np.int64) << ALIGN)
        self.s_out.send(spikes)
