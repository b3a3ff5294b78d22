"""purespike simulate, verify and replay: run a bundle again and compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer
from rich.text import Text

from purespike.cli.commands.shared import NOT_COMPLIANT, OK, BundleFolder, err, out, say_axes
from purespike.cli.console import progress_bars, rules
from purespike.cli.listing import Listing
from purespike.compiler.errors import UsageError

if TYPE_CHECKING:
    from purespike.judge.bundle.contents import Examination
    from purespike.judge.bundle.own_program import Replay
    from purespike.targets.bundle.bundle import Bundle


def simulate(
    bundle: BundleFolder,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Samples to run; golden: 64, data: all.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="A whole test set instead of golden samples on Lava: a .npz file with inputs "
            "(T, B, ...), spikes, and perhaps labels (B,)."
        ),
    ] = None,
    backend: Annotated[
        Literal["cpu", "lava", "onnx"] | None,
        typer.Option(
            help="What runs the test set: the cpu executor (by default), Lava, or ONNX Runtime; "
            "the last two are compared with the first."
        ),
    ] = None,
    shards: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the finished parts of a test set: a run that was killed goes on "
            "from there."
        ),
    ] = None,
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
    """Run the bundle's Lava program on golden samples, or its network on a whole test set."""
    if data is not None:
        _test_set(
            bundle,
            data,
            samples,
            backend=backend or "cpu",
            stock=stock,
            jobs=jobs,
            scheduler=scheduler,
            shards=shards,
        )
    for option, given in (("--backend", backend), ("--shards", shards)):
        if given:
            raise UsageError(
                "golden samples run on Lava, and all at once",
                found=option,
                remedy=f"leave {option} out, or name a test set with --data",
            )
    from purespike.judge.bundle.consistency import require_recordings
    from purespike.judge.bundle.own_program import run_own
    from purespike.targets.bundle.bundle import read_bundle
    from purespike.targets.lava.lower.emit import emit
    from purespike.targets.lava.lower.schedule import schedule

    loaded = read_bundle(bundle)
    require_recordings(loaded)
    plan = schedule(loaded.graph)
    follows = emit(loaded.graph, plan, loaded.golden.inputs)
    with progress_bars(err) as progress:
        replay = run_own(
            loaded,
            follows,
            plan,
            samples or 64,
            stock=stock,
            jobs=jobs,
            scheduler=scheduler,
            progress=progress,
        )
    _print_lava(replay)
    out.print(rules(replay.findings, judged=True))
    if not replay.own:
        out.print(
            "NOT EQUAL: lava/program.json is not the program of model.nir; "
            "`purespike verify` says what else differs",
            style="bold red",
            soft_wrap=True,
        )
    equal = replay.own and all(f.status == "PASS" for f in replay.findings)
    raise typer.Exit(OK if equal else NOT_COMPLIANT)


def _test_set(
    folder: Path,
    data: Path,
    samples: int | None,
    *,
    backend: Literal["cpu", "lava", "onnx"],
    stock: bool,
    jobs: int | None,
    scheduler: str | None,
    shards: Path | None,
) -> NoReturn:
    from purespike.flow.testset import run_test_set
    from purespike.targets.bundle.bundle import read_bundle

    if stock and backend != "lava":
        raise UsageError(
            "the test set does not run on Lava",
            found=f"--stock beside the executor {backend}",
            remedy="leave --stock out, or choose --backend lava",
        )
    loaded = read_bundle(folder)
    say_axes(data)
    with progress_bars(err) as progress:
        found = run_test_set(
            loaded.graph,
            data,
            samples,
            backend=backend,
            model=folder / "model.onnx",
            stock=stock,
            jobs=jobs,
            scheduler=scheduler,
            shards=shards,
            progress=progress,
        )
    for line in found.lines():
        out.print(line, soft_wrap=True)
    if found.classes:
        table = Listing("class", "samples", "right", "decided so", title="By class")
        for row in found.classes:
            table.add_row(*map(str, row))
        out.print(table)
    rates = Listing("layer", "spikes per neuron and step", title="Firing rates")
    for name, rate in found.rates.items():
        rates.add_row(name, f"{rate:.4f}")
    out.print(rates)
    if found.different:
        out.print(f"NOT EQUAL: {found.different}", style="bold red", soft_wrap=True)
    raise typer.Exit(NOT_COMPLIANT if found.different else OK)


def verify(
    bundle: BundleFolder,
    lava: Annotated[bool, typer.Option(help="Run the bundle's Lava program too.")] = True,
) -> None:
    """Run or compare every file of a bundle: hashes, all executors, and what follows from them."""
    from purespike.judge.bundle.contents import examine
    from purespike.targets.bundle.bundle import read_bundle

    loaded = read_bundle(bundle)
    out.print(f"{len(loaded.manifest['files'])} files: every sha256 is right")
    with progress_bars(err) as progress:
        found = examine(loaded, lava=lava, progress=progress)
    if found.lava:
        _print_lava(found.lava)
    out.print(_files(found))
    wrong = [f for f in found.findings if f.status != "PASS"]
    if wrong:
        out.print(rules(wrong, judged=True))
    holds = not wrong
    words = _conclusion(found, loaded, lava=lava)
    out.print(Text(words, style="green" if holds else "bold red"), soft_wrap=True)
    raise typer.Exit(OK if holds else NOT_COMPLIANT)


def _files(found: Examination) -> Listing:
    table = Listing("file", "run by", "result", "compared", title="What lies in the bundle")
    colours = {"PASS": "green", "FAIL": "bold red", "NOT RUN": "yellow"}
    for name, executors, status, words in found.by_file():
        table.add_row(name, ", ".join(executors), Text(status, style=colours[status]), words)
    return table


def _conclusion(found: Examination, bundle: Bundle, *, lava: bool) -> str:
    """What was executed and compared, and what no bundle can show."""
    by_file = list(found.by_file())
    ran = [name for name, executors, _, _ in by_file if executors]
    samples = len(bundle.golden.labels)
    wrong = [name for name, _, status, _ in by_file if status == "FAIL"]
    if wrong:
        return f"NOT EQUAL: {', '.join(wrong)}"
    missing = [f.measured for run in found.runs for f in run.findings if f.status == "NOT RUN"]
    if missing:
        return f"NOT PROVED: an executor did not run: {missing[0]}"
    unknown = [name for name, _, status, _ in by_file if status == "NOT RUN"]
    if unknown:
        wrote = bundle.manifest["versions"]["purespike"]
        return (
            f"NOT PROVED: purespike {wrote} wrote this bundle, and this version would write "
            f"{', '.join(unknown)} otherwise: verify with that one, or compile again"
        )
    layers = ", ".join(f"{run.executor} {run.layers}" for run in found.runs)
    reported = bundle.said.samples
    words = [
        f"{len(ran)} of {len(by_file)} files were run, {len(by_file)} compared with what follows "
        f"from the network and its {samples} golden samples: all bit for bit equal",
        f"layers compared on {samples} samples: {layers}"
        + ("" if lava else "; Lava did not run (--no-lava)"),
    ]
    if reported > samples:
        words.append(
            f"report.json is about {reported} samples: the {reported - samples} others are not in "
            "the bundle, and bound its means only"
        )
    labels = "that the labels are true, and " if bundle.said.accuracy else ""
    words.append(
        f"not in the bundle, and so not verified: {labels}what the report says of the trained "
        "network, its name, its source files and other packages' versions"
    )
    return "\n".join(words)


def replay(
    bundle: BundleFolder,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Golden samples to run; all by default.")
    ] = None,
) -> None:
    """Check every hash of a bundle and replay its golden vectors with numpy alone."""
    from purespike.targets.bundle.golden_network import replay_bundle

    files, rows = replay_bundle(bundle, samples)
    wrong = [row for row in rows if row.different]
    samples_run = rows[0].samples
    out.print(f"{files} files: every sha256 is right")
    for row in wrong:
        out.print(str(row), markup=False, highlight=False)
    ran = f"golden_network.json ran on {samples_run} samples of golden.npz"
    out.print(
        f"NOT EQUAL: {len(wrong)} of {len(rows)} recordings differ ({ran})"
        if wrong
        else f"{len(rows)} recordings replayed with numpy alone: equal bit for bit ({ran}; "
        "`purespike verify` says whether model.nir holds the same network)",
        style="bold red" if wrong else "bold green",
        soft_wrap=True,
    )
    raise typer.Exit(NOT_COMPLIANT if wrong else OK)


def _print_lava(replay: Replay) -> None:
    run = replay.lava
    if run is None:
        out.print("Lava did not run", style="bold red")
        return
    right = "no labels" if replay.correct is None else f"{replay.correct} right"
    out.print(
        f"Lava ran lava/program.json on {replay.samples} samples: {right}; "
        f"{run.shards} run(s) of {run.processes // run.shards} processes, {run.steps} steps, "
        f"{1000 * run.seconds / run.steps:.1f} ms per step, "
        f"{replay.samples / run.seconds:.1f} samples per second"
    )
