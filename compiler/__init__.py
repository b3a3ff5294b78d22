"""From a captured graph to one that a neuromorphic chip accepts, with the proof. No torch here.

The rooms in the order of the data: ``ir`` (what an edge may carry, what a node does, what a graph
means), ``passes`` and ``pipeline`` (rewrites held to their promises), ``proofs`` (what holds for
every input), ``rules`` (what is judged), ``report``; beside them ``checker``, a second opinion.
"""
