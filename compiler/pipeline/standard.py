"""The passes that every compilation runs, in their order."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from purespike.compiler.ir.domain import Array
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Execute, lean
from purespike.compiler.passes.fold_constants import fold_constants
from purespike.compiler.passes.fold_scales.fold_scales import fold_scales, unfolded
from purespike.compiler.passes.fuse_batchnorm import fuse_batchnorm
from purespike.compiler.passes.hold_integers import hold_integers
from purespike.compiler.passes.lower_gates import lower_gates
from purespike.compiler.passes.merge_equal import merge_equal, merged
from purespike.compiler.passes.quantize.calibrate import Method, calibrate
from purespike.compiler.passes.quantize.exactly import require_held
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.passes.quantize.groups import scale_groups
from purespike.compiler.passes.quantize.quantize import fit_scales, fitting_notes, quantize
from purespike.compiler.passes.quantize.readout import readout_notes
from purespike.compiler.passes.quantize.replay_layers import Fire, fire
from purespike.compiler.passes.quantize.rounding import choose_rounding
from purespike.compiler.passes.quantize.scales import Scaling
from purespike.compiler.passes.remove_dead import remove_dead, removed
from purespike.compiler.passes.split_host import split_host
from purespike.compiler.passes.strip_auxiliary import describe, strip_auxiliary
from purespike.compiler.passes.unroll_levels.unroll_levels import LIMIT, unroll_network, unrolled
from purespike.compiler.pipeline.contract import REWRITES, SAME, Pass, Pipeline, close
from purespike.compiler.proofs.ranges import bound_neurons


def host_split(*, host_encoder: bool) -> Pass:
    """The pass that names what runs beside the chip; an analog input has to be declared."""
    return Pass("split_host", lambda g: split_host(g, host_encoder=host_encoder), SAME)


def standard_pipeline(
    *,
    grid: Grid | None = None,
    host_encoder: bool = False,
    calibration: Array | None = None,
    method: Method | None = None,
    execute: Execute = lean,
    fire: Fire = fire,
    levels: int = LIMIT,
    quantized: bool = False,
) -> Pipeline:
    """The passes in order.

    Args:
        grid: The integers of the chip.
        host_encoder: Declares that an analog input is encoded on the host.
        calibration: Training inputs (T, B, *shape), on which biases and thresholds are rounded
            together, and which choose the scales by spike agreement; None rounds to the nearest.
        method: How scales are chosen; None is ``agreement`` where there are calibration inputs,
            else ``max``, the scales that just hold the largest weights.
        execute: Runs the network in real numbers on the calibration inputs.
        fire: Runs layers of neurons on the currents that they get there.
        levels: How many levels an activation may have, each of which is a neuron.
        quantized: The network's weights are integers already, and stay as they are.
    """
    grid = grid or Grid()
    how: Method = method or ("max" if calibration is None else "agreement")

    @lru_cache(maxsize=1)  # asked for by the pass and by the ledger
    def free(graph: Graph) -> dict[str, Scaling]:
        return calibrate(graph, calibration, replace(grid, fit_membranes=False), how, execute, fire)

    @lru_cache(maxsize=1)
    def scales(graph: Graph) -> dict[str, Scaling]:
        return fit_scales(graph, free(graph), grid) if grid.fit_membranes else free(graph)

    def to_integers(graph: Graph) -> Graph:
        if quantized:
            require_held(graph, grid)
        if calibration is None:
            return quantize(graph, grid, scales(graph))
        rounded = choose_rounding(graph, calibration, grid, scales(graph), execute, fire)
        after = quantize(graph, grid, scales(graph), rounded)
        if grid.fit_membranes:  # a bias that rounds up may break the proof: then the nearest one
            groups = scale_groups(graph)
            broken = {groups.get(name) for name in _saturating(after)}
            kept = {name: op for name, op in rounded.items() if groups[name] not in broken}
            after = after if kept == rounded else quantize(graph, grid, scales(graph), kept)
        return after

    def costs(before: Graph, after: Graph) -> tuple[str, ...]:
        """What it costs that membranes and readouts stay where they must."""
        fitted: tuple[str, ...] = ()
        if grid.fit_membranes:
            fitted = fitting_notes(before, free(before), scales(before), after)
        return (*fitted, *readout_notes(before, after, grid))

    def one_each(graph: Graph) -> dict[str, float]:
        """Scales of whole layers; outputs are among them, channels with their own are not."""
        return {name: s for name, s in scales(graph).items() if isinstance(s, float)}

    network = (
        Pass("strip_auxiliary", strip_auxiliary, SAME, describe),
        Pass("fuse_batchnorm", fuse_batchnorm, close(1e-9)),
        Pass("fold_scales", fold_scales, close(1e-9), unfolded),
        Pass("fold_constants", fold_constants, close(1e-9)),
        # In front of what knows spikes only, behind what folds into weights: copies share those.
        Pass("unroll_levels", lambda g: unroll_network(g, levels), close(1e-9), unrolled),
        Pass("lower_gates", lower_gates, SAME),
        Pass("merge_equal", merge_equal, SAME, merged),
        # Shorter sums are rounded otherwise in real numbers.
        Pass("remove_dead", remove_dead, close(1e-9), removed),
        host_split(host_encoder=host_encoder),
    )
    chip = [Pass("quantize", to_integers, REWRITES, costs, scales=one_each)]
    if quantized:
        chip.insert(0, Pass("hold_integers", lambda g: hold_integers(g, grid), SAME))
    return Pipeline(network, tuple(chip))


def _saturating(graph: Graph) -> set[str]:
    bounds = bound_neurons(graph, current_limit=np.inf)
    return {name for name, b in bounds.items() if b.verdict == "saturates"}
