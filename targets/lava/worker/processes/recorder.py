"""Writes spikes and membrane potentials into .npy files while the network runs.

Reading through Lava's `Var.get` costs about 15 us a value. One recorder serves the whole network,
because every Lava process is an operating-system process; so it has as many ports as there are
recorded layers, and its class is made for that number (a Lava model has to name its ports, and
Lava 0.10.0 raises NotImplementedError for concatenated ports).
"""

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyRefPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol


def spike_port(index):
    """Name of the port that receives the spikes of layer `index`."""
    return f"s_in_{index}"


def membrane_port(index):
    """Name of the port that reads the membrane potential of neuron layer `index`."""
    return f"v_{index}"


class Recorder(AbstractProcess):
    """A row of a file holds one time step: all layers flattened, one after the other.

    Args:
        spike_shapes: Shape of each recorded spike layer.
        membrane_shapes: Shape of each recorded membrane potential.
        spikes: Path of the spike file, uint8 (steps, total size); row t - 1 is step t.
        membranes: Path of the membrane file, int32 (recorded steps, total size).
        interval, offset: Membranes are recorded in the steps t with
            t % interval == offset % interval.
        progress: Path of an 8-byte file that holds the number of finished steps.
        name: Name of the process.
    """

    def __init__(
        self,
        *,
        spike_shapes,
        membrane_shapes,
        spikes,
        membranes,
        interval,
        offset,
        progress,
        name,
    ):
        super().__init__(
            interval=interval,
            offset=offset,
            sizes=[int(np.prod(shape)) for shape in spike_shapes],
            membrane_sizes=[int(np.prod(shape)) for shape in membrane_shapes],
            spikes=spikes,
            membranes=membranes,
            progress=progress,
            name=name,
        )
        for index, shape in enumerate(spike_shapes):
            setattr(self, spike_port(index), InPort(shape=shape))
        for index, shape in enumerate(membrane_shapes):
            setattr(self, membrane_port(index), RefPort(shape=shape))


class PyRecorder(PyLoihiProcessModel):
    """CPU model of `Recorder`; `recorder_class` adds the ports."""

    def __init__(self, proc_params):
        super().__init__(proc_params)
        self.spikes = np.load(proc_params["spikes"], mmap_mode="r+")
        self.membranes = np.load(proc_params["membranes"], mmap_mode="r+")
        self.progress = np.memmap(proc_params["progress"], np.int64, "r+", shape=(1,))
        self.membrane_row = 0

    def run_spk(self):
        """One time step."""
        row, start = self.spikes[self.time_step - 1], 0
        for index, size in enumerate(self.proc_params["sizes"]):
            row[start : start + size] = getattr(self, spike_port(index)).recv().ravel()
            start += size
        self.progress[0] = self.time_step

    def post_guard(self):
        """Whether this step needs the phase in which membranes can be read."""
        interval, offset = self.proc_params["interval"], self.proc_params["offset"]
        return bool(self.proc_params["membrane_sizes"]) and not (self.time_step - offset) % interval

    def run_post_mgmt(self):
        """Reads the membranes as the neurons left them in this step."""
        row, start = self.membranes[self.membrane_row], 0
        for index, size in enumerate(self.proc_params["membrane_sizes"]):
            row[start : start + size] = getattr(self, membrane_port(index)).read().ravel()
            start += size
        self.membrane_row += 1


def recorder_class(layers, membranes):
    """A subclass of `Recorder` with that many ports, and its model, known to Lava's discovery."""
    name = f"Recorder_{layers}_{membranes}"
    if name not in globals():
        ports = {spike_port(i): LavaPyType(PyInPort.VEC_DENSE, np.int32) for i in range(layers)}
        ports |= {
            membrane_port(i): LavaPyType(PyRefPort.VEC_DENSE, np.int32) for i in range(membranes)
        }
        process = type(name, (Recorder,), {"__module__": __name__})
        model = type(f"Py{name}", (PyRecorder,), {"__module__": __name__, **ports})
        model = tag("fixed_pt")(requires(CPU)(implements(process, LoihiProtocol)(model)))
        # Lava looks for models among the names of this module.
        globals().update({name: process, f"Py{name}": model})
    return globals()[name]
