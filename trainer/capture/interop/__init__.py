"""Models of other frameworks: what their modules are in the compiler's graph.

:class:`~purespike.trainer.capture.interop.imported.Imported` makes a model of SpikingJelly or
snnTorch one that capture takes. Their classes are known by name: neither framework is imported or
needed.
"""
