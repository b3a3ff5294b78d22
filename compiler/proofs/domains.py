"""Which values every edge can carry, for any input and any number of steps.

Abstract interpretation over the lattice of `Domain`: each op's typing rule is its abstract meaning,
a loop is iterated to a fixed point. What the graph itself says about its edges is not used, but
for the inputs; `verify` compares the two.

Source: Cousot & Cousot, "Abstract interpretation", POPL 1977 (least fixed points by widening).
"""

from __future__ import annotations

from purespike.compiler.ir.domain import Domain, join, widen
from purespike.compiler.ir.graph import Edge, Graph, IRError

PATIENCE = 3  # rounds that a loop may grow before it is widened: most settle in two
REST = Domain(0, 0, 1)  # what a delay gives back before anything has reached its end


def prove_domains(graph: Graph) -> dict[str, Domain]:
    """The proved domain of every edge, inputs first.

    Every cycle goes through a delay. In the first round a delay that closes a loop gives zeros;
    each further round adds what the last one sent into it, from round ``PATIENCE`` on widened, so
    the rounds end. Then one more round changes nothing: by induction over the time steps every
    value that any run of any length can bring about is inside.

    Raises:
        IRError: If an op cannot take what reaches it; the message names the node.
    """
    known = {edge.name: edge for edge in graph.inputs}
    written: set[str] = set(known)
    loops = []
    for node in graph.nodes:
        if node.op.delays and node.inputs[0] not in written:
            loops.append(node)
            known[node.name] = Edge(node.name, node.output.shape, REST)
        written.add(node.name)
    closing = {node.name for node in loops}
    round_ = 0
    while True:
        for node in graph.nodes:
            if node.name in closing:
                continue
            try:
                edges = [known[i] for i in node.inputs]
                known[node.name] = Edge(node.name, *node.op.infer(*edges))
            except KeyError as e:
                raise IRError(f"%{node.name} reads %{e.args[0]} before it is written") from None
            except IRError as e:
                e.where = e.where or f"%{node.name} (module {graph.origin(node.name)})"
                raise
        settled = True
        for node in loops:
            before = known[node.name].domain
            sent = known[node.inputs[0]].domain
            after = (join if round_ < PATIENCE else widen)(before, sent)
            if not after <= before:
                settled = False
                known[node.name] = Edge(node.name, node.output.shape, after)
        if settled:
            return {name: edge.domain for name, edge in known.items()}
        round_ += 1
