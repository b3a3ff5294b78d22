"""From the plain program to Lava's processes."""

import json
import os

import numpy as np
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.lif.process import LIF, LIFReset
from lava.proc.sparse.process import DelaySparse, Sparse
from scipy.sparse import csr_matrix

from purespike.targets.lava.worker import deferred
from purespike.targets.lava.worker.fast_models import PyFastConv, PyFastDelaySparse
from purespike.targets.lava.worker.packing import packed
from purespike.targets.lava.worker.processes.file_source import FileSource
from purespike.targets.lava.worker.processes.recorder import (
    membrane_port,
    recorder_class,
    spike_port,
)
from purespike.targets.lava.worker.processes.soft_if import SoftIF
from purespike.targets.lava.worker.shim import widen

widen()

SPIKES = "spikes.npy"
MEMBRANES = "membranes.npy"
PROGRESS = "progress"
RECORDER = "purespike.recorder"


def load(folder):
    """The program of a folder, with its arrays in place, as nested dicts."""
    with open(os.path.join(folder, "program.json"), encoding="utf-8") as file:
        program = json.load(file)
    with np.load(os.path.join(folder, "arrays.npz"), allow_pickle=False) as arrays:
        for process in program["processes"]:
            for key, value in process.items():
                if isinstance(value, dict):
                    process[key] = arrays[value["array"]]
                elif isinstance(value, list):
                    process[key] = tuple(value)
    return program


def build(program, folder, scratch):
    """Makes all Lava processes and connects them.

    Args:
        program: What `load` returned.
        folder: The program's folder, for sources from files.
        scratch: Folder for the recordings and for sources that stand in the program.

    Returns:
        The processes by name, the recorder last.
    """
    processes = {
        entry["name"]: MAKERS[entry["kind"]](entry, folder, scratch)
        for entry in program["processes"]
    }
    for connection in program["connections"]:
        port = output_port(processes[connection["source"]])
        if connection["reshape"] == "flatten":
            port = port.flatten()
        elif connection["reshape"]:
            port = port.reshape(tuple(connection["reshape"]))
        port.connect(input_port(processes[connection["destination"]]))
    processes[RECORDER] = record(program, processes, scratch)
    return processes


def run_config(program):
    """Fixed-point models for all processes: stock, or fast where there is one."""
    fast = {Conv: PyFastConv, DelaySparse: PyFastDelaySparse}
    replaced = fast if program["conv"] == "fast" else {}
    if not replaced:
        deferred.load()
    return Loihi2SimCfg(select_tag="fixed_pt", exception_proc_model_map=replaced)


def output_port(process):
    """The port a process sends on."""
    return process.s_out if hasattr(process, "s_out") else process.a_out


def input_port(process):
    """The port a process receives on."""
    return process.a_in if hasattr(process, "a_in") else process.s_in


def record(program, processes, scratch):
    """Connects one recorder to all recorded layers and makes its files."""
    spikes = [output_port(processes[name]) for name in program["record"]]
    membranes = [processes[name].v for name in program["record_v"]]
    interval, offset = program["record_v_interval"], program["record_v_offset"]
    steps = program["steps"]
    rows = {
        "spikes": steps,
        "membranes": sum((t - offset) % interval == 0 for t in range(1, steps + 1)),
    }
    paths = {}
    for key, file, dtype, ports in (
        ("spikes", SPIKES, np.uint8, spikes),
        ("membranes", MEMBRANES, np.int32, membranes),
    ):
        paths[key] = os.path.join(scratch, file)
        width = sum(int(np.prod(port.shape)) for port in ports)
        np.lib.format.open_memmap(paths[key], mode="w+", dtype=dtype, shape=(rows[key], width))
    recorder = recorder_class(len(spikes), len(membranes))(
        spike_shapes=[port.shape for port in spikes],
        membrane_shapes=[var.shape for var in membranes],
        interval=interval,
        offset=offset,
        progress=os.path.join(scratch, PROGRESS),
        name=RECORDER,
        **paths,
    )
    for index, port in enumerate(spikes):
        port.connect(getattr(recorder, spike_port(index)))
    for index, var in enumerate(membranes):
        getattr(recorder, membrane_port(index)).connect_var(var)
    return recorder


def make_source(entry, folder, scratch):
    """Spikes from the program go to a file first: every source is memory-mapped."""
    path = os.path.join(folder, entry["name"] + ".npy")
    if entry["spikes"] is not None:
        path = os.path.join(scratch, entry["name"] + ".npy")
        np.save(path, entry["spikes"])
    return FileSource(shape=entry["shape"], path=path, name=entry["name"])


def make_conv(entry, folder, scratch):
    """Stock Conv."""
    keys = ("input_shape", "stride", "padding", "dilation", "groups", "name")
    return Conv(weight=entry["weight"].astype(np.int32), **{key: entry[key] for key in keys})


def make_dense(entry, folder, scratch):
    """Stock Dense."""
    mantissas, exponent = packed(entry["weight"])
    return Dense(weights=mantissas, name=entry["name"], weight_exp=exponent)


def make_sparse(entry, folder, scratch):
    """Stock Sparse, or DelaySparse for a delay."""
    weight, exponent = packed(entry["weight"])
    rows = columns = np.arange(len(weight))
    size = (len(weight), len(weight))
    if entry["rows"] is not None:
        rows, columns, size = entry["rows"], entry["columns"], entry["size"]
    matrix = csr_matrix((weight, (rows, columns)), shape=size)
    if not np.any(entry["delay"]):
        return Sparse(weights=matrix, name=entry["name"], weight_exp=exponent)
    # DelaySparse insists on Python's integer type.
    delays = np.array(np.broadcast_to(entry["delay"], weight.shape), dtype=int)
    delays = csr_matrix((delays, (rows, columns)), shape=size)
    return DelaySparse(weights=matrix, delays=delays, name=entry["name"], weight_exp=exponent)


def make_lif(entry, folder, scratch):
    """Stock LIF or LIFReset."""
    keys = ("shape", "vth", "du", "dv", "bias_exp", "name")
    values = {key: entry[key] for key in keys}
    values["bias_mant"] = np.broadcast_to(entry["bias"], entry["shape"]).astype(np.int32)
    if not entry["reset_interval"]:
        return LIF(**values)
    resets = {key: entry[key] for key in ("reset_interval", "reset_offset")}
    return LIFReset(**values, **resets)


def make_soft_if(entry, folder, scratch):
    """Custom neuron with a reset by subtraction."""
    return SoftIF(**{key: value for key, value in entry.items() if key != "kind"})


MAKERS = {
    "source": make_source,
    "conv": make_conv,
    "dense": make_dense,
    "sparse": make_sparse,
    "lif": make_lif,
    "soft_if": make_soft_if,
}
