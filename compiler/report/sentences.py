"""Sentences about figures of a report, the same in every form of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from purespike.compiler.report.report import Report
from purespike.compiler.report.rows.basic import Choice
from purespike.compiler.report.rows.network import NetworkFile, NodeRow
from purespike.compiler.wording import figure

NOT_COUNTED = "not counted"
NO_ACCURACY = "not measured: no labelled data was given"
_NAMED = 6  # silent layers


def amount(count: float | None) -> str:
    """A count in whole numbers, or that nothing was counted; 0 is 0 only where it was."""
    return NOT_COUNTED if count is None else figure(count)


def counted(report: Report) -> str:
    """Which network the census is of, over what; or why there is none."""
    census = report.census
    if census.chip is None:
        return f"{NOT_COUNTED}: {census.not_counted or 'nothing ran'}"
    samples, given = census.samples, report.samples
    over = "" if samples in (None, given) else f", over {samples} of {given} samples"
    return f"{census.network or 'the network'}{over}"


def origin(report: Report) -> str:
    """The file that the network came from, and how what it leaves open was settled; or nothing."""
    file = report.file
    if file is None:
        return ""
    parts = [f"{file.format} file {file.name}, SHA-256 {file.sha256}"]
    parts += [f"{by}: {settled(said)}" for by, said in answered(file)]
    if file.taken:
        parts.append(f"from the file: {'; '.join(file.taken)}")
    if report.network and report.network.dt is not None:
        parts.append(f"so a step is {report.network.dt:g} s")
    return f"{'; '.join(parts)}."


def answered(file: NetworkFile) -> Iterator[tuple[str, Mapping[str, Choice]]]:
    """How what a file leaves open was settled: by whom, and the answers. T may be the data's."""
    steps = {k: v for k, v in file.assumed.items() if k == "steps"}
    others = {k: v for k, v in file.assumed.items() if k != "steps"}
    for by, said in (("stated", file.stated), ("from the data", steps), ("assumed", others)):
        if said:
            yield by, said


def settled(answers: Mapping[str, Choice]) -> str:
    """Answers about a file, in words that no interface owns.

    >>> settled({"dt": 0.001, "reset": "zero", "spike_input": True})
    'dt = 0.001, reset = zero, spike_input = true'
    """
    said = ((k, str(v).lower() if isinstance(v, bool) else str(v)) for k, v in answers.items())
    return ", ".join(f"{k} = {v}" for k, v in said)


FORGETS = "keeps nothing of it a step"


def membrane(node: NodeRow) -> list[str]:
    """What a neuron does with its membrane, in words; nothing of what is no neuron.

    >>> from purespike.compiler.report.rows.network import NodeRow
    >>> membrane(NodeRow(name="n", shape=(3,), domain="spike", operation="Neuron", reads=("x",),
    ...     role="main", origin="n", fires=True, thresholds=(2, 4), reset="subtract", decay=0.5))
    ['fires at its threshold 2 to 4', 'a spike takes the threshold off', 'keeps 0.5 of it a step']
    """
    if node.reset is None or node.decay is None:
        return []
    words = []
    if node.fires and node.thresholds:
        low, high = node.thresholds
        words.append(f"fires at its threshold {_ends(low, high)}")
    taken = _ends(*node.amount) if node.amount else "the threshold"
    resets = {"zero": "a spike sets it to 0", "subtract": f"a spike takes {taken} off"}
    words.append(resets.get(node.reset, "never fires: the membrane is its output"))
    kept: dict[float, str] = {0: FORGETS, 1: "keeps all of it a step"}
    words.append(kept.get(node.decay, f"keeps {node.decay:g} of it a step"))
    if node.current_decay:
        words.append(f"keeps {node.current_decay:g} of its current a step")
    return words


def _ends(low: float | None, high: float | None) -> str:
    said = ["infinite" if x is None else f"{x:g}" for x in dict.fromkeys((low, high))]
    return " to ".join(said)


def latency(report: Report) -> str:
    """How long the chip takes from the input to its last layer; empty where nothing was compiled.

    In time, too, where the network says how long a step lasts: what nobody stated is 1 ms.
    """
    if report.latency is None or report.network is None:
        return ""
    steps, whole = report.latency, report.network.steps + report.latency
    dt = report.network.dt

    def lasts(n: int) -> str:
        time = "" if dt is None else f" ({figure(1000 * n * dt, 3)} ms)"
        return f"{n} step{'' if n == 1 else 's'}{time}"

    each = "" if dt is None else f", at {1000 * dt:g} ms a step"
    return (
        f"Latency on Lava: {lasts(steps)} from the input to the last layer; a sample of "
        f"T = {report.network.steps} is through after {lasts(whole)}{each}."
    )


def joins(report: Report) -> str:
    """Sums whose results are numbers, such as SEW's ADD: how many, and what they add."""
    adds = [c for c in report.census.layers if c.operation == "Add" and c.counts.add]
    if not adds:
        return ""
    total = sum(c.counts.add for c in adds)
    joined = f"{len(adds)} ADD join{'s' if len(adds) > 1 else ''}"
    return f"{joined} outside dendrites: {total:,.0f} of the ADD"


def operations(report: Report) -> str:
    """What one sample costs on the chip, in a sentence."""
    chip = report.census.chip
    if chip is None:
        return f"Operations per sample: {counted(report)}."
    kinds = ("ac", "mac", "mul", "add", "cmp", "logic", "unknown")
    shown = ", ".join(
        f"{amount(getattr(chip, k))} {k.upper() if len(k) == 3 or k == 'ac' else k}"
        for k in kinds
        if getattr(chip, k) or k in kinds[:5]
    )
    more = f" ({joins(report)})" if joins(report) else ""
    where = "on the chip" if on_chip(report) else "as if it ran on a chip"
    return f"Operations per sample {where}, {counted(report)}: {shown}{more}."


def on_chip(report: Report) -> bool:
    """Are the operations those of the chip's network?"""
    return str(report.census.network).startswith("integer")


def multiplications(report: Report) -> float | None:
    """MAC and MUL of one sample on the chip; None if nothing was counted."""
    chip = report.census.chip
    return None if chip is None else float(chip.mac + chip.mul)


def percent(share: float) -> str:
    """A share of equal values, never rounded up to all of them."""
    text = f"{100 * share:.3f}"
    return f"{'99.999' if text == '100.000' and share < 1 else text} %"


def given(report: Report) -> str:
    """What the network was judged by: how many samples, of how many time steps."""
    steps = "" if report.network is None else f", T = {report.network.steps}"
    return f"{report.samples:,} sample{'s' * (report.samples != 1)}{steps}"


def silence(report: Report) -> str:
    """A warning of layers that no input made fire; empty where all of them fired."""
    silent = report.verdict.silent
    if not silent:
        return ""
    rows = report.census.layers
    every = {r.origin or r.name for r in rows if r.runs_on == "chip" and r.firing_rate is not None}
    named = ", ".join(silent[:_NAMED])
    more = f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
    which = "no neuron" if len(silent) == len(every) else "no neuron of these layers"
    return (
        f"Warning: {which} fired for these inputs ({given(report)}): {named}{more}. What was "
        "compared and counted there is silence: look at the inputs and their scale, at weights and "
        "thresholds"
    )
