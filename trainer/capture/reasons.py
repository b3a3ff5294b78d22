"""Why a layer that people have is not an operation of the graph, and what to do instead."""

from __future__ import annotations

from torch import nn

__all__ = ["reason_of", "reason_of_function"]

_NORM = (
    "it divides by a deviation of the very values that arrive: what each spike weighs would "
    "depend on all other spikes",
    "train with BatchNorm2d (BatchNorm1d behind Linear), whose statistics are constants afterwards "
    "and go into the weights",
)
_GROWS = (
    "its output is larger than its input and places differ in what they hear; the graph's "
    "convolution has one kernel for every place",
    "upsample outside of the network; where the result is the network's end, "
    "nn.Flatten and nn.Linear say the same; ConvTranspose2d of stride 1 is captured",
)
_PRODUCT = (
    "it multiplies activations with each other: no synapse has a weight that arrives as spikes",
    "leave it out or run it on the host; products with constants and gates of spikes are captured",
)
_RATE = (
    "it is a function of real numbers, which no synapse and no neuron computes",
    "train with a spiking neuron in its place",
)
_SCORES = (
    "it makes probabilities of logits, which no synapse and no neuron computes",
    "at the end of the network leave it out: the class is the arg max of the logits as well, and "
    "cross entropy takes logits; inside it, train with a spiking neuron in its place",
)
_CLASS = (
    "it makes classes of logits, which the host does",
    "at the end of the network leave it out: the class is read from the output",
)
_DROPS = (
    "it drops values in evaluation, too",
    "use nn.Dropout, or functional.dropout(x, p, self.training): both do nothing in evaluation",
)
_MEMORY = (
    "it keeps a state that no neuron of the graph has",
    "use Leaky, Lapicque or Synaptic (snnTorch), IFNode, LIFNode or ParametricLIFNode "
    "(SpikingJelly), or a neuron of purespike.nn",
)
_SPACE = (
    "the graph's layers have two axes of places, (C, H, W)",
    "use layers of one or two axes; of (C, D, H, W), time as the steps of the network",
)
_VALUES = (
    "it sends other values than 0 and 1",
    "use a neuron that sends spikes",
)
_EDGE = (
    "it is a layer of its own that only moves or repeats places",
    "zeros around a map are the padding of the convolution or pool behind it",
)
_TIME = (
    "it weighs or counts steps of time, which spikes do not know",
    "leave time to the neurons; a mean over time may stand at the end",
)

_REASONS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("GroupNorm", "LayerNorm", "InstanceNorm1d", "InstanceNorm2d", "RMSNorm", "NeuNorm",
         "LocalResponseNorm"),
        _NORM,
    ),
    **dict.fromkeys(
        ("Upsample", "UpsamplingNearest2d", "UpsamplingBilinear2d", "ConvTranspose1d",
         "ConvTranspose2d", "PixelShuffle", "MaxUnpool1d", "MaxUnpool2d", "Fold"),
        _GROWS,
    ),
    **dict.fromkeys(
        ("MultiheadAttention", "TemporalWiseAttention", "MultiDimensionalAttention", "Bilinear",
         "LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "GatedLIFNode", "RNNCell", "Transformer",
         "CosineSimilarity", "PairwiseDistance"),
        _PRODUCT,
    ),
    **dict.fromkeys(
        ("GELU", "SiLU", "Sigmoid", "Tanh", "LeakyReLU", "ELU", "PReLU",
         "Softplus", "Mish", "Hardswish", "CELU", "SELU", "GLU", "LogSigmoid",
         "Hardsigmoid", "Hardshrink", "Softshrink", "Softsign", "Tanhshrink", "RReLU",
         "Threshold"),
        _RATE,
    ),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Softmin", "Softmax2d"), _SCORES),
    **dict.fromkeys(
        ("QIFNode", "EIFNode", "IzhikevichNode", "AdaptBaseNode", "KLIFNode", "PSN", "MaskedPSN",
         "SlidingPSN", "ComplementaryLIFNode", "RAFNode", "Alpha", "RLeaky", "RSynaptic",
         "DSRIFNode", "DSRLIFNode", "ActivationAwareIFNode", "ILCIFNode", "ILCLIFNode",
         "ILCCUBALIFNode", "NoisyCUBALIFNode", "NoisyILCCUBALIFNode", "NoisyNonSpikingIFNode",
         "STBIFNode", "FewSpikeNode", "OutlierAwareThresholdNode", "HGNode", "FlexSN",
         "MPBNLIFNode", "SynapseFilter", "LeakyParallel",
         "StateLeaky", "SLSTM", "NeuronalCell", "LinearLeaky", "AssociativeLeaky"),
        _MEMORY,
    ),
    **dict.fromkeys(
        ("ZeroPad1d", "ZeroPad2d", "ReflectionPad1d", "ReflectionPad2d", "ReplicationPad1d",
         "ReplicationPad2d", "CircularPad1d", "CircularPad2d", "ConstantPad1d", "ConstantPad2d",
         "Unfold", "PixelUnshuffle", "ChannelShuffle", "Unflatten"),
        _EDGE,
    ),
    **dict.fromkeys(
        ("Conv3d", "MaxPool3d", "AvgPool3d", "AdaptiveAvgPool3d", "AdaptiveMaxPool3d",
         "BatchNorm3d", "InstanceNorm3d", "ConvTranspose3d", "MaxUnpool3d",
         "ThresholdDependentBatchNorm3d", "ZeroPad3d", "ReflectionPad3d", "ReplicationPad3d",
         "CircularPad3d", "ConstantPad3d"),
        _SPACE,
    ),
    **dict.fromkeys(
        ("LIAFNode", "GradedSpikes", "WeightedLeaky"),
        _VALUES,
    ),
    **dict.fromkeys(
        ("TemporalEffectiveBatchNorm1d", "TemporalEffectiveBatchNorm2d",
         "BatchNormThroughTime1d", "BatchNormThroughTime2d", "BatchNormTT1d", "BatchNormTT2d",
         "Delay"),
        _TIME,
    ),
}  # fmt: skip


_FUNCTIONS = {"softmax": "Softmax", "log_softmax": "LogSoftmax", "softmin": "Softmin"} | {
    name.lower(): name for name in ("GELU", "SiLU", "Sigmoid", "Tanh", "ELU", "SELU", "CELU")
}


def reason_of(module: nn.Module) -> tuple[str, str]:
    """(why, remedy) of the first class of a module that stands here; two empty words if none."""
    for cls in type(module).__mro__:
        if cls.__name__ in _REASONS:
            return _REASONS[cls.__name__]
    return "", ""


def reason_of_function(name: str) -> tuple[str, str]:
    """The same of a function or method of torch that says what a layer does."""
    if name in ("argmax", "topk"):
        return _CLASS
    if name.endswith("dropout") or name in ("dropout1d", "dropout2d", "dropout3d"):
        return _DROPS
    return _REASONS.get(_FUNCTIONS.get(name, ""), ("", ""))
