"""A network as a NIR file: in real numbers as it was trained, or in the chip's integers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from purespike.compiler.errors import UsageError
from purespike.compiler.files.writing import write_file
from purespike.compiler.ir.graph import Graph, Node
from purespike.compiler.ir.ops import BatchNorm, Conv2d, Linear
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales
from purespike.compiler.passes.split_host import chip_part
from purespike.compiler.pipeline import Pass, Pipeline, compile_graph
from purespike.compiler.pipeline.contract import SAME, close
from purespike.flow.build import captured_network
from purespike.flow.pass_lists import choose_passes
from purespike.flow.probe import choose_probe
from purespike.judge.fast import execute
from purespike.options import Options
from purespike.subject import Subject, checked_subject, silent
from purespike.targets.nir.emit import write_nir
from purespike.targets.nir.readers import READERS, for_reader, reader_bytes
from purespike.targets.real.memory import Memory


def exported(
    subject: Subject, options: Options, *, integers: bool = False, keep_batchnorm: bool = False
) -> Graph:
    """The graph that NIR is to say.

    Args:
        subject: The network with samples to compare passes on.
        options: What the quantizer is told; nothing else of it matters.
        integers: Whether weights and thresholds become the chip's integers.
        keep_batchnorm: Whether batch norms stay layers of their own: NIR has no node for them, so
            each becomes a diagonal 1 x 1 convolution (readers take no groups), or linear layer.

    Raises:
        Refusal: If a pass refuses the network.
        UsageError: If integers and batch norms are both asked for.
    """
    if integers and keep_batchnorm:
        raise UsageError(
            "integers need batch norms that are fused",
            remedy="ask for one of the two",
        )
    subject = checked_subject(subject)
    captured, _ = captured_network(subject)
    remembering = partial(execute, memory=Memory())
    pipeline = choose_passes(captured, subject, options, silent, remembering)
    if keep_batchnorm:
        pipeline = _keeping(pipeline)
    passes = tuple(pipeline) if integers else pipeline.network
    probe, _ = choose_probe(captured, subject.spikes)
    return chip_part(compile_graph(captured, passes, probe, execute=remembering).graph)


def export_nir(graph: Graph, path: Path, *, reader: str | None = None, strict: bool = False) -> str:
    """Write a graph as NIR, whole or not at all.

    Args:
        graph: As `exported` gives it, or as it was read.
        path: Where.
        reader: One of `READERS`; None writes NIR's own conventions.
        strict: Whether plain nodes say everything.

    Returns:
        How it is read.

    Raises:
        NirError: If NIR, or the reader, cannot say the graph.
        OutputError: If it cannot be written.
    """
    if reader is None:
        write_nir(graph, path, strict=strict)
        return f"nir.read({path.name!r}, type_check=False)"
    if reader not in READERS:
        raise UsageError("no such reader of NIR", found=reader, allowed=", ".join(READERS))
    write_file(path, reader_bytes(for_reader(graph, reader)))
    found = READERS[reader]
    alone = "; run samples one by one, without a batch axis" if found.single else ""
    return f"graph = nir.read({path.name!r}, type_check=False); {found.how}{alone}"


def _keeping(pipeline: Pipeline) -> Pipeline:
    """The passes with batch norms as layers; nothing is merged into one afterwards."""
    kept = pipeline.replaced("fuse_batchnorm", Pass("keep_batchnorm", keep_batchnorm, close(1e-9)))
    apart = Pass("fold_scales", partial(fold_scales, compose=False), close(1e-9))
    kept = kept.replaced("fold_scales", apart)
    return kept.replaced("fold_constants", Pass("fold_constants", lambda g: g, SAME))


def keep_batchnorm(graph: Graph) -> Graph:
    """Each batch norm as the layer that it is at inference: a factor and a bias per channel."""
    return graph.rebuilt([_as_layer(graph, node) for node in graph.nodes])


def _as_layer(graph: Graph, node: Node) -> Node:
    op = node.op
    if not isinstance(op, BatchNorm):
        return node
    factor = op.gamma / np.sqrt(op.variance + op.eps)
    bias = op.beta - op.mean * factor
    if len(node.output.shape) == 3:
        return replace(node, op=Conv2d(np.diag(factor)[:, :, None, None], bias))
    return replace(node, op=Linear(np.diag(factor), bias))
