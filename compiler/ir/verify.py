"""Is a graph well formed? The typing rules live in the ops; here they are only replayed."""

from __future__ import annotations

from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.graph import Edge, Graph, IRError
from purespike.compiler.ir.ops import TimeMean


def verify(graph: Graph) -> None:
    """Raise IRError at the first node that is not what its op says it is.

    The error's text is the message, then the printed graph with the bad line underlined.
    """
    known: dict[str, Edge] = {}
    for edge in graph.inputs:
        if edge.name in known:
            raise IRError(f"input %{edge.name} is declared twice")
        known[edge.name] = edge
    if graph.steps < 1 or not graph.dt > 0:
        raise IRError("a graph needs T >= 1 steps and dt > 0 s", found=f"{graph.steps}, {graph.dt}")
    written = {n.name: n.output for n in graph.nodes}
    for node in graph.nodes:
        try:
            if node.name in known:
                raise IRError(f"%{node.name} is written twice")
            edges = []
            for name in node.inputs:
                if name in known:
                    edges.append(known[name])
                elif node.op.delays and name in written:
                    edges.append(written[name])
                elif name in written:
                    loop = _prompt_path(graph, node.name, name)
                    raise IRError(
                        f"%{name} is read before it is written",
                        found=f"the loop {' -> '.join(loop)} takes no time" if loop else "",
                        remedy="a loop needs a Delay of at least one step"
                        if loop
                        else f"list the node after %{name}",
                    )
                else:
                    raise IRError(f"%{name} is written by no node")
            if isinstance(node.op, TimeMean) and node.op.steps < graph.steps:
                raise IRError(
                    "a mean over time ends before the sample does: later steps would add to it",
                    found=f"a mean over {node.op.steps} steps, T = {graph.steps}",
                    allowed=f"a mean over {graph.steps} steps",
                )
            shape, domain = node.op.infer(*edges)
            if shape != node.output.shape:
                raise IRError(
                    f"the op makes shape {shape}, the edge says {node.output.shape}",
                )
            if not domain <= node.output.domain:
                raise IRError(
                    f"the op makes {domain}, the edge only carries {node.output.domain}",
                    remedy="the graph claims what it does not do: write it anew from its source",
                )
        except PurespikeError as e:
            raise point_at(graph, node.name, e) from None
        known[node.name] = node.output
    for name in graph.outputs:
        if name not in known:
            raise IRError(f"output %{name} is written by no node")


def _prompt_path(graph: Graph, start: str, end: str) -> list[str]:
    """The edges from ``start`` to ``end`` and back, if no delay lies between; else nothing."""
    paths = [[start]]
    seen = {start}
    for path in paths:  # grows while it is read: breadth first
        if path[-1] == end:
            return [f"%{name}" for name in (*path, start)]
        for reader in graph.consumers(path[-1]):
            if reader.name not in seen and not reader.op.delays:
                seen.add(reader.name)
                paths.append([*path, reader.name])
    return []


def point_at(graph: Graph, name: str, error: PurespikeError) -> IRError:
    """The error with the printed graph, the line of node ``name`` underlined."""
    lines: list[str] = []
    for line in str(graph).splitlines():
        lines.append(line)
        if line.startswith(f"  %{name}:"):
            lines += ["  " + "^" * (len(line) - 2), f"  {error.message}"]
    shown = IRError(
        error.message,
        found=error.found,
        allowed=error.allowed,
        where=error.where or f"%{name} (module {graph.origin(name)})",
        remedy=error.remedy,
    )
    shown.add_note("\n".join(lines))
    return shown
