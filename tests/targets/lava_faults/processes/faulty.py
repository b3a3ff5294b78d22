"""A neuron that goes wrong at its fifth step, in the way that it is told. Only for tests."""

import os
import signal
import sys
import time

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

FAULTY_STEP = 5


class Faulty(AbstractProcess):
    """Sends what it receives, until it does not."""

    def __init__(self, *, shape, fault, name):
        super().__init__(shape=shape, fault=fault, name=name)
        self.a_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
        self.v = Var(shape=shape, init=0)


@implements(proc=Faulty, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyFaulty(PyLoihiProcessModel):
    """CPU model of `Faulty`."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    v: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        if proc_params["fault"] == "init":
            raise ValueError("boom in the model's constructor")

    def run_spk(self):
        """One time step."""
        data, fault = self.a_in.recv(), self.proc_params["fault"]
        if self.time_step == FAULTY_STEP:
            if fault == "raise":
                raise ValueError("boom in run_spk")
            if fault == "memory":
                raise MemoryError("no room")
            if fault == "exit":
                sys.exit(3)
            if fault == "os_exit":
                os._exit(4)
            if fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "loop":
                while True:
                    time.sleep(0.01)
            if fault == "shape":
                data = np.zeros((*data.shape, 2), np.int32)
            if fault == "silent":
                return
        self.s_out.send(data)
