"""The Lava program as a Python script that people read, run and change: `lava/run.py` of a bundle.

It makes the same Lava processes, one statement each, with nothing but lava-nc, numpy and scipy; it
runs the golden samples and compares every recorded layer with `golden.npz`. What it needs beside
Lava lies next to it: the arrays of the program, the shim for newer Pythons, and, if the network
has soft resets, the process for them in a folder of its own.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np

from purespike.targets.lava.lower.schedule import Schedule
from purespike.targets.lava.program.program import (
    Connection,
    Conv,
    Dense,
    Lif,
    Process,
    Program,
    Reshape,
    SoftIf,
    Source,
    Sparse,
    is_neuron,
)
from purespike.targets.lava.worker.packing import doubles

SCRIPT = "run.py"
_WIDTH = 100
_WORKER = "purespike.targets.lava.worker"
_IMPORTS = {
    "Conv": "from lava.proc.conv.process import Conv",
    "Dense": "from lava.proc.dense.process import Dense",
    "LIF": "from lava.proc.lif.process import LIF",
    "LIFReset": "from lava.proc.lif.process import LIFReset",
    "Sparse": "from lava.proc.sparse.process import Sparse",
    "DelaySparse": "from lava.proc.sparse.process import DelaySparse",
}
_MATRIX = '''

def matrix(values, rows=None, columns=None, size=None):
    """A sparse matrix (outputs, inputs); without rows and columns it connects one to one."""
    if rows is None:
        rows = columns = np.arange(len(values))
        size = (len(values), len(values))
    return csr_matrix((values, (rows, columns)), shape=size)
'''


def write_script(
    program: Program, plan: Schedule, steps: int, folder: Path, golden: str = "../golden.npz"
) -> None:
    """Write `run.py` and what it imports beside the files of the program.

    Args:
        program: The golden samples' program, as `program_file.write` wrote it into `folder`.
        plan: The schedule it was emitted by.
        steps: Time steps T of one sample.
        folder: Where `arrays.npz` of the program lies.
        golden: Path of the golden vectors, seen from `folder`.
    """
    (folder / SCRIPT).write_text(script(program, plan, steps, golden), encoding="utf-8")
    _copy("", "shim.py", folder / "lava_shim.py")
    if any(isinstance(p, SoftIf) for p in program.processes):
        (folder / "processes").mkdir(exist_ok=True)
        for name in ("__init__.py", "soft_if.py"):
            _copy("processes", name, folder / "processes" / name)


def script(program: Program, plan: Schedule, steps: int, golden: str) -> str:
    """The text of `run.py`; the arguments are those of `write_script`."""
    sources = [p for p in program.processes if isinstance(p, Source)]
    names = _variables(p.name for p in program.processes)
    body = [line for p in program.processes for line in _process(names[p.name], p)]
    wires = [_wire(c, program, names) for c in program.connections]
    depth = [f'    "{n}": {plan.depth[n]},' for n in (*program.record, *program.record_v)]
    firing = [f'        "{n}": {names[n]},' for n in program.record]
    integrators = [f'        "{n}": {names[n]},' for n in program.record_v]
    return _SCRIPT.substitute(
        imports=_imports(program),
        custom=_CUSTOM if any(isinstance(p, SoftIf) for p in program.processes) else "",
        matrix=_MATRIX if any(isinstance(p, Sparse) for p in program.processes) else "",
        steps=steps,
        period=steps + plan.gap,
        samples=(program.steps - plan.latency) // (steps + plan.gap),
        latency=plan.latency,
        lead=steps + plan.gap if plan.gap else 0,
        depth="\n".join(depth),
        golden=golden,
        source=sources[0].name,
        body="\n".join(f"    {line}" for line in body),
        wires="\n".join(f"    {line}" for line in wires),
        firing=_dict(firing),
        integrators=_dict(integrators),
    )


def _imports(program: Program) -> str:
    used = {_class(p) for p in program.processes} & _IMPORTS.keys()
    lines = {
        "import numpy as np",
        "from lava.magma.core.run_conditions import RunSteps",
        "from lava.magma.core.run_configs import Loihi2SimCfg",
        "from lava.proc.io.extractor import Extractor, PyLoihiExtractorModel",
        "from lava.proc.io.source import RingBuffer",
    }
    if any(isinstance(p, Sparse) for p in program.processes):
        lines.add("from scipy.sparse import csr_matrix")
    modules: dict[str, list[str]] = {}
    for name in sorted(used, key=lambda n: (n != n.upper(), n)):  # constants first, as isort does
        module, _, _ = _IMPORTS[name].partition(" import ")
        modules.setdefault(module, []).append(name)
    lines |= {f"{module} import {', '.join(names)}" for module, names in modules.items()}
    return "\n".join(sorted(lines, key=lambda line: (line.startswith("from"), line)))


def _variables(names: Iterable[str]) -> dict[str, str]:
    """A Python variable for each process: its name, with what Python does not take replaced."""
    taken = {"samples", "frames", "np", "matrix", *keyword.kwlist, *_IMPORTS}
    found: dict[str, str] = {}
    for name in names:
        base = name.replace(".", "_").replace("-", "_")
        variable = base = f"p{base}" if base[0].isdigit() else base
        count = 1
        while variable in taken:
            count += 1
            variable = f"{base}_{count}"
        taken.add(variable)
        found[name] = variable
    return found


def _class(process: Process) -> str:
    if isinstance(process, Source):
        return "RingBuffer"
    if isinstance(process, Lif):
        return "LIFReset" if process.reset_interval else "LIF"
    if isinstance(process, SoftIf):
        return "SoftIF"
    if isinstance(process, Sparse):
        return "DelaySparse" if np.any(process.delay) else "Sparse"
    return type(process).__name__


def _process(variable: str, process: Process) -> list[str]:
    """The statement that makes a process, as lines."""
    if isinstance(process, Source):
        return [f"{variable} = RingBuffer(data=np.moveaxis(frames, 0, -1))"]
    arguments: dict[str, object] = {"name": f'"{process.name}"'}
    if isinstance(process, Conv):
        arguments["weight"] = _weight(process)
        for key in ("input_shape", "stride", "padding", "dilation", "groups"):
            arguments[key] = getattr(process, key)
    elif isinstance(process, Dense):
        weights, exponent = _packed(process)
        arguments |= {"weights": weights, "weight_exp": exponent}
    elif isinstance(process, Sparse):
        return _sparse(variable, process, arguments)
    else:
        arguments["shape"] = tuple(int(n) for n in process.shape)
        keys = {"vth": "vth", "du": "du", "dv": "dv", "bias": "bias"}
        if isinstance(process, Lif):
            keys = {"vth": "vth", "du": "du", "dv": "dv", "bias": "bias_mant", "bias_exp": ""}
        else:
            keys |= {"amount": "amount"}
        if isinstance(process, SoftIf) or process.reset_interval:
            keys |= {"reset_interval": "", "reset_offset": ""}
        for field, argument in keys.items():
            arguments[argument or field] = _value(process, field)
    return _call(f"{variable} = {_class(process)}", arguments)


def _sparse(variable: str, process: Sparse, arguments: dict[str, object]) -> list[str]:
    lines, place = [], ""
    if process.rows is not None and process.size is not None:
        rows, columns = (f'ARRAYS["{process.name}.{key}"]' for key in ("rows", "columns"))
        size = tuple(int(n) for n in process.size)
        lines.append(f"{variable}_place = ({rows}, {columns}, {size})")
        if len(lines[0]) + 4 > _WIDTH:
            lines = [f"{variable}_place = (", *(f"    {p}," for p in (rows, columns, size)), ")"]
        place = f", *{variable}_place"
    weights, exponent = _packed(process)
    arguments["weights"] = f"matrix({weights}{place})"
    if np.any(process.delay):
        delay = f"np.full({process.weight.size}, {process.delay})"
        if np.ndim(process.delay):
            delay = f'ARRAYS["{process.name}.delay"]'
        arguments["delays"] = f"matrix({delay}{place})"
    return [
        *lines,
        *_call(f"{variable} = {_class(process)}", {**arguments, "weight_exp": exponent}),
    ]


def _packed(process: Dense | Sparse) -> tuple[str, int]:
    """(mantissas, exponent) of a synapse, as the worker packs them."""
    if doubles(int(process.weight.min()), int(process.weight.max())):
        return f"2 * {_weight(process)}", -1
    return _weight(process), 0


def _weight(process: Process) -> str:
    """Stored in a byte each, in which twice a weight would not fit."""
    return f'ARRAYS["{process.name}.weight"].astype(np.int32)'


def _value(process: Process, field: str) -> object:
    value = getattr(process, field)
    return int(value) if getattr(value, "ndim", 0) == 0 else f'ARRAYS["{process.name}.{field}"]'


def _call(target: str, arguments: Mapping[str, object]) -> list[str]:
    """A call as `ruff format` writes it: on one line, else its arguments indented on one, or each.

    The body is indented by four spaces.
    """
    parts = [f"{key}={value}" for key, value in arguments.items()]
    inner = ", ".join(parts)
    if len(target) + len(inner) + 2 + 4 <= _WIDTH:
        return [f"{target}({inner})"]
    if len(inner) + 8 <= _WIDTH:
        return [f"{target}(", f"    {inner}", ")"]
    return [f"{target}(", *(f"    {part}," for part in parts), ")"]


def _wire(connection: Connection, program: Program, names: Mapping[str, str]) -> str:
    kinds = {p.name: p for p in program.processes}
    source, target = kinds[connection.source], kinds[connection.destination]
    spikes = is_neuron(source) or isinstance(source, Source)
    port = f"{names[source.name]}.{'s_out' if spikes else 'a_out'}{_reshaped(connection.reshape)}"
    return f"{port}.connect({names[target.name]}.{'a_in' if is_neuron(target) else 's_in'})"


def _reshaped(reshape: Reshape) -> str:
    if reshape == "":
        return ""
    if reshape == "flatten":
        return ".flatten()"
    return f".reshape({tuple(int(n) for n in reshape)})"


def _dict(lines: list[str]) -> str:
    return "{}" if not lines else "{\n" + "\n".join(lines) + "\n    }"


def _copy(package: str, name: str, target: Path) -> None:
    where = resources.files(f"{_WORKER}.{package}" if package else _WORKER)
    target.write_bytes((where / name).read_bytes())


_CUSTOM = """
# isort: split
# Stock Lava has no spiking neuron with a reset by subtraction.
from processes.soft_if import SoftIF
"""

_SCRIPT = Template('''"""The network as Lava processes, and the golden samples run through it.

    python run.py [--samples N]

Needs lava-nc 0.10.0 and what it requires (numpy, scipy), nothing else. Reads weights and input
spikes from arrays.npz beside this file and the expected recordings from golden.npz; prints one
line for each recorded layer. Exit code 0: all equal, 1: not.

Layout: (C, H, W) of the golden vectors is (W, H, C) here. A neuron fires where v > vth. Every
synapse takes one step, so a layer sees step t of the input at step t + DEPTH; delays align the
branches of joins, and neurons are reset when the next sample reaches them. Dense and Sparse cut
the lowest bit off signed 8-bit weights: twice the weight with exponent -1 keeps it. Lava waits for
ever if one of its processes fails: stop it with Ctrl-C.
"""
# ruff: noqa: E402 (the shim has to come before Lava)

import argparse
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # a bundle holds listed files only

import lava_shim

lava_shim.install()  # for Python 3.11 and newer; Lava was made for 3.10

$imports
$custom
lava_shim.widen()  # for numpy 2 and more than 127 rows or channels

HERE = Path(__file__).resolve().parent
ARRAYS = np.load(HERE / "arrays.npz")
GOLDEN = np.load(HERE / "$golden")
T = $steps  # time steps of a sample
PERIOD = $period  # from one sample to the next: delayed spikes of the first run out in between
LEAD = $lead  # silent steps before the first sample
SAMPLES = $samples
LATENCY = $latency  # steps until the deepest layer has seen the last step
DEPTH = {
$depth
}


def run_config():
    """Where the network runs. To run it on a chip, switch here.

    This configuration chooses Lava's bit-accurate models for the CPU. With Intel's Loihi extension
    return its configuration instead (such as `lava.magma.core.run_configs.Loihi2HwCfg`), and put
    the extension's adapters where spikes enter and leave: at the RingBuffer and the Extractors.
    """
    models = {Extractor: PyLoihiExtractorModel}
    return Loihi2SimCfg(select_tag="fixed_pt", exception_proc_model_map=models)
$matrix

def build(samples):
    """All processes and connections: the neurons that fire, and those that integrate, by name."""
    frames = ARRAYS["$source.spikes"][: LEAD + samples * PERIOD].astype(np.int32)
    frames = np.pad(frames, [(0, LATENCY)] + [(0, 0)] * (frames.ndim - 1))
$body

$wires

    firing = $firing
    integrators = $integrators
    return firing, integrators


def run(samples):
    """The number of values that differ from the golden vectors, and of all, by recording."""
    firing, integrators = build(samples)
    taps = {}
    for name, neuron in firing.items():
        taps[name] = Extractor(shape=neuron.s_out.shape, buffer_size=4)
        neuron.s_out.connect(taps[name].in_port)
    expected = {f"spikes/{name}": GOLDEN[f"spikes/{name}"] for name in firing}
    expected |= {f"membranes/{name}": GOLDEN[f"membranes/{name}"] for name in integrators}
    different = dict.fromkeys(expected, 0)
    compared = dict.fromkeys(expected, 0)
    config = run_config()
    parts = []  # one neuron each: Lava runs what is connected with it
    try:
        for neuron in (*firing.values(), *integrators.values()):
            if neuron.runtime is None:
                neuron.create_runtime(run_cfg=config)
                parts.append(neuron)
        for step in range(samples * PERIOD + LATENCY):
            for part in parts:
                part.run(condition=RunSteps(num_steps=1), run_cfg=config)
            found = {f"spikes/{name}": tap.receive() for name, tap in taps.items()}
            found |= {f"membranes/{name}": n.v.get() for name, n in integrators.items()}
            for key, value in found.items():
                sample, t = divmod(step - DEPTH[key.partition("/")[2]], PERIOD)
                if 0 <= sample < samples and t < T:
                    different[key] += int((expected[key][t, sample] != value.T).sum())
                    compared[key] += value.size
    finally:
        for part in parts:
            part.stop()
    return different, compared


def main():
    """Run the golden samples and say whether Lava recorded the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=SAMPLES, metavar="N")
    options = parser.parse_args()
    if not 1 <= options.samples <= SAMPLES:
        parser.error(f"--samples takes 1 to {SAMPLES}: so many are in arrays.npz")
    different, compared = run(options.samples)
    for key, count in different.items():
        print(f"{key}: {count} of {compared[key]} values differ")
    equal = not any(different.values())
    print("EQUAL: Lava recorded the golden vectors" if equal else "NOT EQUAL")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
''')
