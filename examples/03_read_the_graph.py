"""A graph by hand: print it, run it, rewrite it, and bound its membranes.

python examples/03_read_the_graph.py
"""

import numpy as np

from purespike.compiler.ir.domain import SPIKE
from purespike.compiler.ir.graph import Edge, build
from purespike.compiler.ir.interpret import run
from purespike.compiler.ir.ops import Conv2d, Gate, Neuron
from purespike.compiler.ir.verify import verify
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.compiler.proofs.ranges import bound_neurons


def main() -> None:
    rng = np.random.default_rng(0)
    weight = rng.integers(-3, 5, (4, 4, 3, 3))
    graph = build(
        inputs=(Edge("x", (4, 6, 6), SPIKE),),
        nodes=[
            ("current", Conv2d(weight, padding=(1, 1)), ("x",)),
            ("spikes", Neuron(np.asarray(8)), ("current",)),
            ("join", Gate("iand"), ("spikes", "x")),
        ],
        outputs=("join",),
        steps=4,
    )
    verify(graph)
    print(graph)
    lowered = lower_gates(graph)
    print(lowered)
    x = (rng.random((4, 100, 4, 6, 6)) < 0.3).astype(float)
    before, after = run(graph, x), run(lowered, x)
    print("spikes equal:", np.array_equal(before.values["join"], after.values["join"]))
    for name, bounds in bound_neurons(lowered, current_limit=131071).items():
        seen = after.membranes[name]
        print(
            f"{name}: membrane proved in {bounds.membrane}, seen {seen.min():g} to {seen.max():g}"
        )


if __name__ == "__main__":
    main()
