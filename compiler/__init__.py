"""From a captured graph to one that a neuromorphic chip accepts, with the proof. No torch here.

The modules in the order of the data: ``domain`` (what an edge may carry), ``ir`` (the graph),
``ops`` (what a node does), ``verify`` and ``interpret`` (is it well formed, what does it mean),
``passes`` and ``pipeline`` (rewrites held to their promises), ``compliance`` and ``report``.
"""
