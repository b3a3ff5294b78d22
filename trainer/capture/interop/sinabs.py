"""Neurons of sinabs 3.1, which are not captured: what stands in the way, and the way that there is.

They take (B, T, ...) and go on from the membrane of the last call. Their ``spike_fn`` says how many
spikes they send in a step: ``v_mem / spike_threshold``, rounded down, for MultiSpike, its default.
"""

from __future__ import annotations

from typing import Any, Final

from purespike.trainer.capture.conversions import CaptureError

NEURON: Final = "sinabs.layers.stateful_layer"
EXPORTED = ("ExpLeak", "ExpLeakSqueeze", "IAF", "IAFSqueeze", "LIF", "LIFSqueeze")  # by to_nir


def refusal(module: Any, path: str) -> CaptureError:
    """Why a neuron of sinabs is not captured, by what it sends."""
    kind, sends = type(module).__name__, getattr(module, "spike_fn", None)
    name = getattr(sends, "__name__", type(sends).__name__ if sends else "None")
    most = getattr(sends, "max_num_spikes_per_bin", None)
    several = name in ("MultiSpike", "MaxSpike")
    single = ""
    if kind not in EXPORTED:
        single = "use IAF or LIF with spike_fn=SingleSpike, "
    elif several:
        single = "make it with spike_fn=SingleSpike, "
    to_file = (
        "write the model with sinabs.nir.to_nir and nir.write, and compile that file "
        "(docs/inputs.md has the options)"
    )
    if several and most is None:
        why = (
            "sends as many spikes in a step as thresholds fit into its membrane: each level is a "
            "neuron of its own on a chip, and nothing says how many"
        )
    elif several:
        why = "sends several spikes in a step: neurons of sinabs come in NIR files, which say one"
    else:
        why = "keeps its membrane from call to call, behind samples (B, T, ...): it is not captured"
    ours = (
        f"; or train with purespike.nn.ILIF({most or 'levels'}, decay=...), "
        "which rounds its count to the nearest, not down"
    )
    return CaptureError(
        f"this {kind} of sinabs {why}",
        where=path,
        found="spike_fn=" + (f"MaxSpike({most})" if name == "MaxSpike" else name),
        allowed="neurons of purespike.nn, SpikingJelly and snnTorch; of sinabs, as a NIR file, "
        "those that send one spike",
        remedy=single + to_file + (ours if several else ""),
    )
