"""Which passes a compilation runs."""

from __future__ import annotations

from purespike.compiler.errors import UsageError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.ir.interpret import Execute
from purespike.compiler.passes.quantize.exactly import is_quantized
from purespike.compiler.passes.quantize.grid import Grid
from purespike.compiler.pipeline import REWRITES, Pass, Pipeline, host_split, standard_pipeline
from purespike.compiler.wording import Advice
from purespike.judge.fast import execute
from purespike.judge.static import is_integer
from purespike.options import Options
from purespike.subject import Progress, Subject
from purespike.targets.real.fire import fire_real


def require_samples(options: Options, where: str, *, calibration: bool, training: bool) -> None:
    """Refuse options that need samples which are not there.

    Args:
        options: What the compiler is told.
        where: The network, for the error.
        calibration: Whether there are calibration data.
        training: Whether there are training data.

    Raises:
        UsageError: If they do.
    """
    if options.calibration == "agreement" and (not calibration or options.qat):
        raise UsageError(
            "calibration by spike agreement needs data"
            if not options.qat
            else "fine-tuning cannot follow scales that are chosen by spike agreement",
            found="agreement",
            allowed="max, percentile, mse",
            remedy=Advice(
                "give training inputs ('calibration' in {data}, or of the subject), or choose "
                "another: {calibration}"
            ),
        )
    if options.qat and not training:
        raise UsageError(
            "fine-tuning needs training data",
            where=where,
            remedy=Advice(
                "compile a checkpoint of `purespike train` without {data}, which stands in for "
                "its own samples, or give training_inputs and training_labels, too ({data}, or "
                "the subject's training)"
            ),
        )


def choose_passes(
    graph: Graph,
    subject: Subject,
    options: Options,
    progress: Progress,
    execute: Execute = execute,
) -> Pipeline:
    """The standard passes, with fine-tuning before quantization if that is wanted.

    Of a graph that was compiled before, what is left is to name the host.
    """
    if options.qat and is_integer(graph):
        raise UsageError(
            "a network that is in integers already cannot be fine-tuned",
            where=subject.name,
            allowed="networks with real weights",
            remedy=Advice("leave it as it is, without {qat}, or start from the network it was"),
        )
    held = subject.calibration is not None, subject.training is not None
    require_samples(options, subject.name, calibration=held[0], training=held[1])
    grid = Grid(
        options.weight_bits,
        per_channel=options.per_channel,
        fit_membranes=options.fit_membranes,
    )
    passes = standard_pipeline(
        grid=grid,
        host_encoder=options.host_encoder,
        # What was fine-tuned is rounded as it was then.
        calibration=None if options.qat else subject.calibration,
        method=options.calibration,
        execute=execute,
        fire=fire_real,
        levels=options.levels,
        quantized=is_quantized(graph) and not options.qat,
    )
    if is_integer(graph):
        return Pipeline((host_split(host_encoder=True),) if options.host_encoder else ())
    if not options.qat or subject.training is None:
        return passes
    from purespike.trainer.training.fine_tuning import FineTuneConfig, fine_tune  # loads torch

    batches, config = subject.training(), FineTuneConfig(options.qat, method=options.calibration)

    def tune(graph: Graph) -> Graph:
        return fine_tune(
            graph,
            batches,
            grid,
            config,
            progress=lambda epoch, loss: progress("fine-tuning", epoch + 1, options.qat),
        )

    return passes.before("quantize", Pass("fine_tune", tune, REWRITES))
