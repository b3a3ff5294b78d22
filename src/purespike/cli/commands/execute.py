"""purespike simulate, verify and replay: run a bundle again and compare."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer
from rich.text import Text

from purespike.cli.commands.shared import (
    NOT_COMPLIANT,
    OK,
    BundleFolder,
    out,
    require_bundle,
    say_axes,
)
from purespike.cli.listing import Listing
from purespike.cli.shown import AsJson, Quiet, Shown, print_json
from purespike.compiler.errors import UsageError

if TYPE_CHECKING:
    from purespike.compiler.rules.finding import Finding
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
            "--on",
            "--backend",
            help="What runs the test set: the cpu executor (by default), Lava, or ONNX Runtime; "
            "the last two are compared with the first.",
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
    *,
    shown: Shown,
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
            shown=shown,
        )
    for option, given in (("--on", backend), ("--shards", shards)):
        if given:
            raise UsageError(
                "golden samples run on Lava, and all at once",
                found=option,
                remedy=f"leave {option} out, or name a test set with --data",
            )
    require_bundle(bundle)
    from purespike.cli.console import rules
    from purespike.judge.bundle.consistency import require_recordings
    from purespike.judge.bundle.own_program import run_own
    from purespike.targets.bundle.bundle import read_bundle
    from purespike.targets.lava.lower.emit import emit
    from purespike.targets.lava.lower.schedule import schedule

    with shown.progress() as progress:
        progress("reading", 0, 1)
        loaded = read_bundle(bundle)
        require_recordings(loaded)
        plan = schedule(loaded.graph)
        follows = emit(loaded.graph, plan, loaded.golden.inputs)
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
    equal = replay.own and all(f.status == "PASS" for f in replay.findings)
    shown.print(_lava(replay), rules(replay.findings, judged=True, most=shown.most))
    if replay.own:
        words = "EQUAL" if equal else "NOT EQUAL"
        words += f": lava/program.json on {replay.samples} golden samples"
    else:
        words = (
            "NOT EQUAL: lava/program.json is not the program of model.nir; "
            "`purespike verify` says what else differs"
        )
    shown.verdict(
        words,
        lambda: {
            "equal": equal,
            "own_program": replay.own,
            "samples": replay.samples,
            "correct": replay.correct,
            "lava": _lava_data(replay),
            "findings": _found(replay.findings),
        },
        style="bold green" if equal else "bold red",
        soft_wrap=True,
    )
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
    shown: Shown,
) -> NoReturn:
    if stock and backend != "lava":
        raise UsageError(
            "the test set does not run on Lava",
            found=f"--stock beside the executor {backend}",
            remedy="leave --stock out, or choose --on lava",
        )
    require_bundle(folder)
    say_axes(data)
    from purespike.flow.testset import run_test_set
    from purespike.targets.bundle.bundle import read_bundle, require_files, unreplaced

    with shown.progress() as progress:
        progress("reading", 0, 1)
        with unreplaced(folder):
            loaded = read_bundle(folder)
            model = b""
            if backend == "onnx":
                require_files(folder, "model.onnx")
                model = (folder / "model.onnx").read_bytes()
        found = run_test_set(
            loaded.graph,
            data,
            samples,
            backend=backend,
            model=model,
            stock=stock,
            jobs=jobs,
            scheduler=scheduler,
            shards=shards,
            progress=progress,
        )
    if shown.as_json:
        print_json(found.data())
        raise typer.Exit(NOT_COMPLIANT if found.different else OK)
    for line in found.lines():
        out.print(line, soft_wrap=True)
    if found.classes:
        table = Listing("class", "samples", "right", "decided so", title="By class")
        for row in found.classes:
            table.add_row(*map(str, row))
        shown.print(table)
    rates = Listing("layer", "spikes per neuron and step", title="Firing rates")
    for name, rate in found.rates.items():
        rates.add_row(name, f"{rate:.4f}")
    shown.print(rates)
    if found.different:
        out.print(f"NOT EQUAL: {found.different}", style="bold red", soft_wrap=True)
    raise typer.Exit(NOT_COMPLIANT if found.different else OK)


def verify(
    bundle: BundleFolder,
    lava: Annotated[bool, typer.Option(help="Run the bundle's Lava program too.")] = True,
    *,
    shown: Shown,
) -> None:
    """Run or compare every file of a bundle: hashes, all executors, and what follows from them."""
    require_bundle(bundle)
    from purespike.cli.console import rules
    from purespike.judge.bundle.contents import examine
    from purespike.targets.bundle.bundle import read_bundle

    with shown.progress() as progress:
        progress("reading", 0, 1)
        loaded = read_bundle(bundle)
    shown.print(f"{len(loaded.manifest['files'])} files: every sha256 is right")
    with shown.progress() as progress:
        found = examine(loaded, lava=lava, progress=progress)
    if found.lava:
        shown.print(_lava(found.lava))
    shown.print(_files(found))
    wrong = [f for f in found.findings if f.status != "PASS"]
    if wrong:
        shown.print(rules(wrong, judged=True, most=shown.most))
    holds = not wrong
    words = _conclusion(found, loaded, lava=lava)
    shown.verdict(
        words,
        lambda: {
            "holds": holds,
            "conclusion": words.splitlines(),
            "files": [
                {"file": file, "run_by": list(ran), "result": status, "compared": said}
                for file, ran, status, said in found.by_file()
            ],
            "lava": _lava_data(found.lava) if found.lava else None,
            "findings": _found(found.findings),
        },
        style="green" if holds else "bold red",
        soft_wrap=True,
    )
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
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check every hash of a bundle and replay its golden vectors with numpy alone."""
    from purespike.targets.bundle.golden_network import replay_bundle

    with Shown(as_json, quiet).progress() as progress:
        progress("replay", 0, 1)
        files, rows = replay_bundle(bundle, samples)
    wrong = [row for row in rows if row.different]
    samples_run = rows[0].samples
    if as_json:
        recordings = [{**vars(row), "samples": row.samples} for row in rows]
        print_json({"files": files, "equal": not wrong, "recordings": recordings})
        raise typer.Exit(NOT_COMPLIANT if wrong else OK)
    if not quiet:
        out.print(f"{files} files: every sha256 is right")
    for row in () if quiet else wrong:
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


def _lava_data(replay: Replay) -> dict[str, Any] | None:
    run = replay.lava
    names = ("shards", "processes", "steps", "seconds", "total_seconds")
    return {name: getattr(run, name) for name in names} if run else None


def _found(findings: Iterable[Finding]) -> object:
    from purespike.compiler.report.rows.found import found_data

    return found_data(findings)


def _lava(replay: Replay) -> Text:
    run = replay.lava
    if run is None:
        return Text("Lava did not run", style="bold red")
    right = "no labels" if replay.correct is None else f"{replay.correct} right"
    return Text(
        f"Lava ran lava/program.json on {replay.samples} samples: {right}; "
        f"{run.shards} run(s) of {run.processes // run.shards} processes, {run.steps} steps, "
        f"{1000 * run.seconds / run.steps:.1f} ms per step, "
        f"{replay.samples / run.seconds:.1f} samples per second"
    )
