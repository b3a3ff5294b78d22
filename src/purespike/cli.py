"""The command line. It joins the folders and holds no logic of its own.

Commands import what they need when they run: torch alone takes seconds to load, and a hardware
team can check, verify and simulate a bundle where torch is not installed.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

import purespike
from purespike.compiler.compliance.finding import compliant, headline
from purespike.compiler.compliance.policy import read_policy
from purespike.compiler.domain import SPIKE
from purespike.compiler.errors import PurespikeError
from purespike.console import progress_bars, render, rules
from purespike.reporting import (
    PolicyName,
    Today,
    WaiverFile,
    diff,
    load_waivers,
    policy_app,
    report,
)
from purespike.trainer.errors import TrainingInterrupted

if TYPE_CHECKING:
    from purespike.build import Build, LavaMode, Options
    from purespike.check import Replay

OK, NOT_COMPLIANT, USAGE, INTERNAL, INTERRUPTED = 0, 1, 2, 3, 130

app = typer.Typer(
    name="purespike",
    help="Train full-spike neural networks, compile them to neuromorphic hardware, and prove that "
    "only spikes and additions remain.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command()(report)
app.command()(diff)
app.add_typer(policy_app, name="policy")
out = Console()
err = Console(stderr=True)

Output = Annotated[Path, typer.Option("--out", "-o", help="Folder to write; replaced if ours.")]
BundleFolder = Annotated[Path, typer.Argument(help="A bundle that `purespike compile` wrote.")]
Samples = Annotated[int, typer.Option("--samples", min=1, help="Samples to run.")]


def _version(asked: bool) -> None:
    if asked:
        out.print(f"purespike {purespike.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before every command."""


@app.command()
def demo(
    folder: Output = Path("runs/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Of the training.")] = 0,
    lava_samples: Annotated[
        int, typer.Option(min=1, help="Test digits to run on Lava; 360 is all.")
    ] = 360,
) -> None:
    """Train on handwritten digits, compile, run on Lava, judge: the whole chain on real data."""
    from dataclasses import replace

    from purespike.build import Options
    from purespike.subjects import read_recipe
    from purespike.trainer.fit import train as fit

    recipe = read_recipe(None)
    start = time.perf_counter()
    out.print("[bold]1. Train[/] a full-spike residual network with auxiliary paths")
    result = fit(recipe.model, replace(recipe.train, seed=seed), folder / "training")
    _trained(result.correct, result.n, result.interval, result.seconds)
    out.print("[bold]2. Compile, run on every executor, judge[/]")
    middle = time.perf_counter()
    built = _compile(result.checkpoint, Options(lava_samples=lava_samples))
    built.write(folder / "bundle")
    out.print(render(built.report))
    if built.lava:
        run = built.lava
        out.print(
            f"Lava: {run.processes} processes, {run.steps} steps, "
            f"{1000 * run.seconds / run.steps:.1f} ms a step, "
            f"{len(built.report.accuracy) and built.report.accuracy[-1].n / run.seconds:.1f} "
            "images a second"
        )
    end = time.perf_counter()
    out.print(
        f"Training {middle - start:.0f} s, compiling and running {end - middle:.0f} s, "
        f"together {end - start:.0f} s. Bundle: {folder / 'bundle'}"
    )
    raise typer.Exit(OK if built.report.compliant else NOT_COMPLIANT)


@app.command()
def train(
    recipe: Annotated[
        Path | None, typer.Argument(help="TOML with [model] and [train]; the demo's if left out.")
    ] = None,
    folder: Output = Path("runs/train"),
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one value, as in --set train.epochs=5."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with an interrupted training.")] = False,
) -> None:
    """Train a network on the digits; auxiliary paths are part of the training only."""
    from purespike.subjects import read_recipe
    from purespike.trainer.fit import train as fit

    chosen = read_recipe(recipe, changes or [])
    result = fit(chosen.model, chosen.train, folder, resume_from=folder if resume else None)
    _trained(result.correct, result.n, result.interval, result.seconds)
    out.print(f"Checkpoint: {result.checkpoint}")


@app.command("compile")
def compile_(
    checkpoint: Annotated[Path, typer.Argument(help="The model/ folder that `train` wrote.")],
    folder: Output = Path("runs/bundle"),
    bits: Annotated[int, typer.Option(min=2, max=8, help="Bits of a weight.")] = 8,
    samples: Samples = 64,
    lava: Annotated[
        Literal["fast", "stock", "none"],
        typer.Option(
            help="Convolution model on Lava: ours (equal, faster), Lava's own, or no run."
        ),
    ] = "fast",
    calibration: Annotated[
        Literal["max", "agreement"],
        typer.Option(help="Scales by the largest weight, or by the spikes kept on training data."),
    ] = "max",
    onnx: Annotated[
        Literal["step", "sequence", "qonnx"],
        typer.Option(help="Form of model.onnx; qonnx adds model.qonnx.onnx for FPGA flows."),
    ] = "step",
    nir_strict: Annotated[
        bool, typer.Option("--nir-strict", help="Plain NIR nodes only, soft reset too.")
    ] = False,
    policy: PolicyName = "strict",
    waivers: WaiverFile = None,
    today: Today = None,
) -> None:
    """Strip, fuse, quantize, write NIR, ONNX, Lava and golden vectors, and judge."""
    from purespike.build import Options

    options = Options(
        weight_bits=bits,
        calibration=calibration,
        golden=samples,
        lava=lava,
        lava_samples=samples,
        nir_strict=nir_strict,
        onnx=onnx,
        policy=read_policy(policy),
        waivers=load_waivers(waivers, today),
    )
    built = _compile(checkpoint, options)
    built.write(folder)
    out.print(render(built.report))
    out.print(f"Bundle: {folder}")
    raise typer.Exit(OK if built.report.compliant else NOT_COMPLIANT)


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A bundle, a model.nir, or a checkpoint folder.")],
    static: Annotated[
        bool, typer.Option("--static", help="Only the rules that the network alone decides.")
    ] = False,
    lava: Annotated[
        bool, typer.Option(help="Run Lava too; without it PS010 is not proved.")
    ] = True,
    dt: Annotated[
        float | None, typer.Option(help="NIR of another tool: seconds a time step.")
    ] = None,
    reset: Annotated[
        Literal["zero", "subtract"] | None,
        typer.Option(help="NIR of another tool: what a spike does to the membrane."),
    ] = None,
    if_r: Annotated[
        Literal["step", "dt"] | None,
        typer.Option("--if-r", help="NIR of another tool: IF and I add r * x, or dt * r * x."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="NIR of another tool: time steps a sample.")
    ] = None,
    spike_input: Annotated[
        bool, typer.Option("--spike-input", help="NIR of another tool: its inputs carry spikes.")
    ] = False,
    policy: PolicyName = "strict",
    waivers: WaiverFile = None,
    today: Today = None,
) -> None:
    """Judge a network; exit 0 if it is spike-only, 1 if it is not or could not be proved."""
    from purespike.check import STATIC, bundle_findings, static_findings
    from purespike.compiler.compliance.finding import RULES, fill_missing
    from purespike.compiler.compliance.waiver import apply_waivers
    from purespike.targets.bundle import MANIFEST, read_bundle, read_manifest
    from purespike.targets.nir.read import read_nir

    chosen, accepted = read_policy(policy), load_waivers(waivers, today)
    stated = (dt, reset, if_r, steps, spike_input or None)
    if not path.is_file() and any(s is not None for s in stated):
        raise PurespikeError(
            "--dt, --reset, --if-r, --steps and --spike-input are for NIR files",
            where=str(path),
            remedy="leave them out: checkpoints and bundles say all themselves",
        )
    if (path / "checkpoint.json").is_file():
        from purespike.build import Options

        mode: LavaMode = "fast" if lava and not static else "none"
        built = _compile(path, Options(lava=mode, policy=chosen, waivers=accepted))
        findings = built.report.findings
    elif path.is_file():
        domain = SPIKE if spike_input else None
        graph = read_nir(path, dt=dt, reset=reset, if_r=if_r, steps=steps, domain=domain)
        findings = fill_missing(static_findings(graph, chosen), "needs a bundle")
    elif (path / MANIFEST).is_file() and "model.nir" not in read_manifest(path)["files"]:
        raise PurespikeError(
            "this network was refused when it was compiled",
            where=str(path),
            remedy="read report.json in it",
        )
    elif static:
        graph = read_bundle(path).graph
        findings = fill_missing(static_findings(graph, chosen), "not a static rule")
    else:
        bundle = read_bundle(path)
        with progress_bars(err) as progress:
            findings = bundle_findings(bundle, chosen, lava=lava, progress=progress)
    if static:
        findings = tuple(f for f in findings if f.rule.id in STATIC)
    if not (path / "checkpoint.json").is_file():  # a build has applied them
        findings = apply_waivers(findings, accepted)
    out.print(rules(findings))
    scope = tuple(r for r in RULES if not static or r.id in STATIC)
    holds = compliant(findings, scope)
    out.print(f"[bold {'green' if holds else 'red'}]{headline(findings, scope)}[/]")
    raise typer.Exit(OK if holds else NOT_COMPLIANT)


@app.command()
def simulate(
    bundle: BundleFolder,
    samples: Samples = 64,
    stock: Annotated[
        bool, typer.Option("--stock", help="Lava's own convolution model: many times slower.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Runs at a time; by default for all cores."),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Run on a Dask cluster instead: address of its scheduler."),
    ] = None,
) -> None:
    """Run golden samples on Lava's CPU backend and compare every layer with the interpreter."""
    from purespike.check import replay_lava
    from purespike.targets.bundle import read_bundle

    loaded = read_bundle(bundle)
    with progress_bars(err) as progress:
        replay = replay_lava(
            loaded, samples, stock=stock, jobs=jobs, scheduler=scheduler, progress=progress
        )
    _print_lava(replay)
    out.print(rules(replay.findings))
    raise typer.Exit(OK if all(f.status == "PASS" for f in replay.findings) else NOT_COMPLIANT)


@app.command()
def verify(
    bundle: BundleFolder,
    lava: Annotated[bool, typer.Option(help="Replay on Lava too.")] = True,
) -> None:
    """Check every hash of a bundle and replay its golden vectors on every executor."""
    from purespike.check import replay_findings, replay_lava
    from purespike.targets.bundle import read_bundle

    loaded = read_bundle(bundle)
    out.print(f"{len(loaded.manifest['files'])} files: every sha256 is right")
    findings = replay_findings(loaded)
    if lava:
        with progress_bars(err) as progress:
            replay = replay_lava(loaded, len(loaded.golden.labels), progress=progress)
        _print_lava(replay)
        findings += replay.findings
    out.print(rules(findings))
    equal = all(f.status == "PASS" for f in findings)
    out.print(
        f"[bold green]{len(findings)} layers replayed, all bit for bit equal[/]"
        if equal
        else "[bold red]NOT EQUAL[/]"
    )
    raise typer.Exit(OK if equal else NOT_COMPLIANT)


@app.command()
def replay(
    bundle: BundleFolder,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Golden samples to run; all by default.")
    ] = None,
) -> None:
    """Check every hash of a bundle and replay its golden vectors with numpy alone."""
    from purespike.targets.golden_network import replay_bundle

    files, rows = replay_bundle(bundle, samples)
    wrong = [row for row in rows if row.different]
    out.print(f"{files} files: every sha256 is right")
    for row in wrong:
        out.print(str(row), markup=False, highlight=False)
    out.print(
        f"[bold red]NOT EQUAL: {len(wrong)} of {len(rows)} recordings differ[/]"
        if wrong
        else f"[bold green]{len(rows)} recordings replayed with numpy alone: equal bit for bit[/]"
    )
    raise typer.Exit(NOT_COMPLIANT if wrong else OK)


@app.command("map")
def map_(
    model: Annotated[Path, typer.Argument(help="A bundle or a model.nir.")],
    chip: Annotated[str, typer.Option("--chip", help="loihi2 or loihi1.")] = "loihi2",
    chips: Annotated[
        int | None, typer.Option("--chips", min=1, help="Chips that it may take; any by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Every core as JSON.")] = False,
) -> None:
    """Lay a network out on a chip's cores: an estimate; exit 1 if it does not fit."""
    import json

    from purespike.mapping import render_mapping
    from purespike.targets.bundle import read_bundle
    from purespike.targets.nir.read import read_nir
    from purespike.targets.resources.chips import CHIPS
    from purespike.targets.resources.mapping import map_network

    if chip not in CHIPS:
        raise PurespikeError("unknown chip", found=chip, allowed=", ".join(CHIPS))
    graph = read_nir(model) if model.is_file() else read_bundle(model).graph
    mapping = map_network(graph, CHIPS[chip], chips=chips)
    if as_json:
        print(json.dumps(mapping.data(), indent=1, sort_keys=True))
    else:
        out.print(render_mapping(mapping))
    raise typer.Exit(OK if mapping.fits else NOT_COMPLIANT)


@app.command()
def doctor() -> None:
    """Print what is installed, which Lava would be used, and whether it works."""
    from purespike.doctor import examine

    lines = examine()
    table = Table("what", "found", "", title=f"purespike {purespike.__version__}")
    for line in lines:
        mark = "[green]ok[/]" if line.works else f"[red]missing[/] {line.remedy}"
        table.add_row(line.what, line.found, mark)
    out.print(table)
    raise typer.Exit(OK if all(line.works for line in lines) else NOT_COMPLIANT)


def _compile(checkpoint: Path, options: Options) -> Build:
    from purespike.build import build
    from purespike.subjects import digits_subject

    with progress_bars(err) as progress:
        return build(digits_subject(checkpoint), options, progress)


def _trained(correct: int, n: int, interval: tuple[float, float], seconds: float) -> None:
    low, high = (100 * x for x in interval)
    out.print(
        f"Trained in {seconds:.0f} s; without its auxiliary paths {correct}/{n} test digits are "
        f"right: {100 * correct / n:.2f} % (95 % interval {low:.2f} to {high:.2f} %)"
    )


def _print_lava(replay: Replay) -> None:
    run = replay.run
    out.print(
        f"Lava: {replay.correct}/{replay.samples} right; {run.shards} run(s) of "
        f"{run.processes // run.shards} processes, {run.steps} steps, "
        f"{1000 * run.seconds / run.steps:.1f} ms a step, "
        f"{replay.samples / run.seconds:.1f} images a second"
    )


def main() -> None:
    """The command ``purespike``: one clear error for what a user can cause, never a traceback."""
    sys.exit(_guarded(app))


def _guarded(run: Callable[[], object]) -> int:
    """The exit code of a run: usage errors leave typer as SystemExit(2), interrupts as 130."""
    try:
        run()
        return OK
    except SystemExit as e:
        if e.code == INTERRUPTED:  # typer's own way of ending on Ctrl-C
            err.print("[yellow]interrupted[/]")
        return e.code if isinstance(e.code, int) else OK
    except KeyboardInterrupt:
        err.print("[yellow]interrupted[/]")
        return INTERRUPTED
    except PurespikeError as e:
        err.print("error:", style="bold red", end=" ")
        err.print(str(e), markup=False, highlight=False)
        for note in getattr(e, "__notes__", []):
            err.print(note, markup=False, highlight=False, style="dim")
        return INTERRUPTED if isinstance(e, TrainingInterrupted) else USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception:
        err.print("internal error: please report this", style="bold red")
        if os.environ.get("PURESPIKE_DEBUG"):
            traceback.print_exc()
        else:
            err.print("set PURESPIKE_DEBUG=1 to see where", style="dim")
        return INTERNAL
