"""purespike: from a full-spike network in torch to neuromorphic hardware, with proof.

The folders follow the data: :mod:`purespike.trainer` makes a torch module,
:mod:`purespike.compiler` turns it into a graph of spikes and additions, and
:mod:`purespike.targets` writes that graph for NIR, ONNX and Lava.
"""

from purespike.telemetry import switch_off

__version__ = "0.1.0"

switch_off()  # before anything below imports onnxruntime
