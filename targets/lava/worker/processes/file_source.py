"""Spikes from a .npy file, one frame a time step.

Lava's own ring buffer holds all frames as int32 in memory, twice; this one maps the uint8 file.
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


class FileSource(AbstractProcess):
    """Sends frame t - 1 of the file at time step t, and silence after the last frame."""

    def __init__(self, *, shape, path, name):
        super().__init__(shape=shape, path=path, name=name)
        self.s_out = OutPort(shape=shape)


@implements(proc=FileSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyFileSource(PyLoihiProcessModel):
    """CPU model of `FileSource`."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=1)

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.frames = np.load(proc_params["path"], mmap_mode="r", allow_pickle=False)
        self.silence = np.zeros(proc_params["shape"], np.uint8)

    def run_spk(self):
        """One time step."""
        step = self.time_step - 1
        self.s_out.send(self.frames[step] if step < len(self.frames) else self.silence)
