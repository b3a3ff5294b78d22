"""What a bundle's hashes cannot show: that its files say the same thing.

Whoever changes a file can write a manifest that agrees. Every file that follows from the network is
therefore made anew and compared, and the recordings have to be of this network, all of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from purespike.compiler.compliance.finding import EXECUTORS, Finding, verdict
from purespike.compiler.ops import Neuron
from purespike.targets.bundle import Bundle, BundleError
from purespike.targets.golden_network import write_golden_network
from purespike.targets.lava.emit import emit
from purespike.targets.lava.program_file import write as write_program
from purespike.targets.lava.schedule import schedule
from purespike.targets.lava.script import write_script


def require_recordings(bundle: Bundle) -> None:
    """Raise unless golden.npz holds samples, and every neuron of the network on all of them.

    Raises:
        BundleError: If something is missing, of another shape, or no spikes.
    """
    graph, golden = bundle.graph, bundle.golden
    neurons = {n.name: n for n in graph.nodes if isinstance(n.op, Neuron) and n.role != "host"}
    firing = {name for name, n in neurons.items() if isinstance(n.op, Neuron) and n.op.fires}
    edge = graph.inputs[0]
    lead = (graph.steps, golden.inputs.shape[1] if golden.inputs.ndim > 1 else 0)
    found = {"inputs": golden.inputs.shape}
    found |= {f"spikes/{n}": a.shape for n, a in golden.spikes.items()}
    found |= {f"membranes/{n}": a.shape for n, a in golden.membranes.items()}
    wanted = {"inputs": (*lead, *edge.shape)}
    wanted |= {f"spikes/{n}": (*lead, *neurons[n].output.shape) for n in firing}
    wanted |= {f"membranes/{n}": (*lead, *node.output.shape) for n, node in neurons.items()}
    wrong = sorted(n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n))
    values = edge.domain.holds(golden.inputs.astype(np.float64)) if not wrong else True
    if wrong or not lead[1] or len(golden.labels) != lead[1] or not values:
        raise BundleError(
            "the golden vectors are not those of this network",
            where=str(bundle.folder / "golden.npz"),
            found=", ".join(wrong) or (f"{lead[1]} samples" if values else "inputs that are none"),
            allowed="every neuron recorded, inputs of its domain, one sample or more",
            remedy="compile again",
        )


def check_derived(bundle: Bundle) -> Iterator[Finding]:
    """PS010: what follows from model.nir and the golden inputs, made anew, byte by byte."""
    graph = bundle.graph
    with tempfile.TemporaryDirectory(prefix="purespike-") as name:
        stage = Path(name)
        write_golden_network(graph, stage)
        plan = schedule(graph)
        program = emit(graph, plan, bundle.golden.inputs)
        write_program(program, stage / "lava")
        write_script(program, plan, graph.steps, stage / "lava")
        for path in sorted(p for p in stage.rglob("*") if p.is_file()):
            file = path.relative_to(stage).as_posix()
            copy = bundle.folder / file
            same = copy.is_file() and copy.read_bytes() == path.read_bytes()
            yield verdict(
                EXECUTORS,
                file,
                same,
                "follows from model.nir" if same else "is not what follows from model.nir",
                limit="the same bytes",
                remedy="compile again with this version: the file was changed, or another version "
                "of purespike wrote it",
            )
