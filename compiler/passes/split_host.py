"""Name what runs beside the chip: the encoder in front of it.

Cases:
1. Every input carries spikes: nothing runs on the host but the arg max of the readout.
2. An analog input, and the caller declares the encoder: the nodes from that input up to the first
   spiking neuron run on the host, as a named boundary; the chip receives spikes.
3. An analog input that nobody declared: refused, since it would put multiplications on the chip.
4. A declared encoder that does not end in spikes everywhere: refused.
"""

from __future__ import annotations

from dataclasses import replace

from purespike.compiler.errors import Refusal
from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.ops import Neuron
from purespike.compiler.wording import Advice

NO_SPIKES = Advice(
    "where the input is spikes (0 or 1), state {spike_input}; else encode it as spikes (bit-plane, "
    "rate, latency or events), or declare the first layers as encoder on the host: {host_encoder}"
)


class HostBoundaryError(Refusal):
    """The chip would receive something that is not a spike."""

    rule = "PS011"


def split_host(graph: Graph, *, host_encoder: bool = False) -> Graph:
    """The graph with the declared encoder marked as host nodes.

    Args:
        graph: Any graph.
        host_encoder: True declares that analog inputs are encoded on the host.

    Raises:
        HostBoundaryError: Cases 3 and 4.
    """
    analog = {e.name for e in graph.inputs if not e.domain <= SPIKE}
    if not analog:
        return graph  # case 1
    if not host_encoder:
        raise HostBoundaryError(
            "the chip would receive an input that is not a spike",
            where=", ".join(sorted(analog)),
            found=", ".join(str(e) for e in graph.inputs if e.name in analog),
            allowed="spike",
            remedy=NO_SPIKES,
        )
    host: set[str] = set()
    nodes = []
    for node in graph.nodes:
        reads_analog = [i for i in node.inputs if i in analog]
        if reads_analog:
            if len(reads_analog) < len(node.inputs):  # case 4
                raise HostBoundaryError(
                    "the declared encoder meets the chip before its first neuron",
                    where=graph.origin(node.name),
                    found=f"host {', '.join(reads_analog)} with chip inputs",
                    remedy="put a spiking neuron at the end of the encoder",
                )
            host.add(node.name)
            node = replace(node, role="host")
            if not (isinstance(node.op, Neuron) and node.op.fires):
                analog.add(node.name)
        nodes.append(node)
    for name in graph.outputs:
        if name in analog:
            raise HostBoundaryError("nothing would run on the chip", where=graph.origin(name))
    return replace(graph, nodes=tuple(nodes))


def chip_part(graph: Graph) -> Graph:
    """What runs on the chip: its input is what the declared encoder sends.

    Raises:
        HostBoundaryError: If the encoder sends more than one train of spikes, or the chip reads
            something beside it.
    """
    nodes = tuple(n for n in graph.nodes if n.role != "host")
    if len(nodes) == len(graph.nodes):
        return graph
    written = {n.name for n in nodes}
    read = dict.fromkeys(i for n in nodes for i in n.inputs if i not in written)
    if len(read) != 1:
        raise HostBoundaryError(
            "the chip reads more than what one encoder sends",
            where=", ".join(read),
            found=f"{len(read)} inputs of the chip",
            allowed="one",
            remedy="end the encoder in one spiking neuron that everything else reads",
        )
    return replace(graph, inputs=tuple(graph.edge(i) for i in read), nodes=nodes)
