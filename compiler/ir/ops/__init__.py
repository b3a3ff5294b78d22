"""The operations of the graph. Each states its typing rule and its meaning, once."""

from purespike.compiler.ir.ops.attention import AttentionMix as AttentionMix
from purespike.compiler.ir.ops.attention import AttentionScores as AttentionScores
from purespike.compiler.ir.ops.join import Add as Add
from purespike.compiler.ir.ops.join import Delay as Delay
from purespike.compiler.ir.ops.join import Gate as Gate
from purespike.compiler.ir.ops.levels import Levels as Levels
from purespike.compiler.ir.ops.neuron import FixedPoint as FixedPoint
from purespike.compiler.ir.ops.neuron import Neuron as Neuron
from purespike.compiler.ir.ops.neuron import RectifiedNeuron as RectifiedNeuron
from purespike.compiler.ir.ops.shape import AvgPool2d as AvgPool2d
from purespike.compiler.ir.ops.shape import BatchNorm as BatchNorm
from purespike.compiler.ir.ops.shape import Flatten as Flatten
from purespike.compiler.ir.ops.shape import MaxPool2d as MaxPool2d
from purespike.compiler.ir.ops.shape import Relu as Relu
from purespike.compiler.ir.ops.shape import TimeMean as TimeMean
from purespike.compiler.ir.ops.synapse import Conv2d as Conv2d
from purespike.compiler.ir.ops.synapse import Linear as Linear
from purespike.compiler.ir.ops.synapse import Scale as Scale

SYNAPSES = (Conv2d, Linear, Scale)
