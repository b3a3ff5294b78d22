"""The parts of the page about numbers: counts, firing, membranes, timing, ledger, cores, energy."""

from __future__ import annotations

from collections.abc import Mapping

from purespike.compiler.formats.read import Data, resource_map
from purespike.compiler.page.charts import bar, interval, span, step_bars
from purespike.compiler.page.elements import Child, Html, el, section, table

_BOXES = 128  # cores of a layer that are drawn


def counts(data: Data) -> Html | None:
    """AC and MAC by layer."""
    layers = [
        c for c in data["census"]["layers"] if any(c["counts"][k] for k in ("ac", "mac", "mul"))
    ]
    if not layers:
        return None
    largest = max(max(c["counts"]["ac"], c["counts"]["mac"]) for c in layers)
    rows = [
        (
            c["name"],
            c["runs_on"],
            f"{c['counts']['ac']:,.0f}",
            bar(c["counts"]["ac"], largest),
            f"{c['counts']['mac']:,.0f}",
            bar(c["counts"]["mac"], largest, "mac"),
            f"{c['counts']['mul']:,.0f}",
        )
        for c in layers
    ]
    head = ("layer", "runs on", "AC", "", "MAC", "", "MUL")
    return section(
        "counts",
        "Operations by layer",
        el(
            "p",
            "AC: a spike meets a weight, which is added. MAC: something that is no spike meets a "
            "weight, which needs a multiplication. ",
            f"Unit: {data['census']['unit']}.",
        ),
        _long(table("Operations a sample, all time steps", head, rows, (2, 4, 6))),
    )


def conventions(data: Data) -> Html | None:
    """The same run as other tools count it."""
    found = data["census"]["conventions"]
    if not found:
        return None
    rows = [
        (name, f"{c['ac']:,.0f}", f"{c['mac']:,.0f}", found["why"].get(name, ""))
        for name, c in sorted(found["total"].items())
    ]
    head = ("counted by", "AC", "MAC", "why it differs")
    return section(
        "conventions",
        "The same run, as other tools count it",
        table(f"Unit: {found['unit']}", head, rows, (1, 2)),
    )


def firing(data: Data) -> Html | None:
    """Firing rate by layer and step."""
    layers = [a for a in data["activity"] if a["rate_by_step"]]
    if not layers:
        return None
    largest = max(max(a["rate_by_step"]) for a in layers)
    rows = [
        (
            a["name"],
            f"{100 * sum(a['rate_by_step']) / len(a['rate_by_step']):.2f} %",
            step_bars(a["rate_by_step"], largest),
        )
        for a in layers
    ]
    caption = f"Spikes per neuron at each step; the tallest bar is {100 * largest:.1f} %"
    return section(
        "firing",
        "Firing rate by layer and step",
        _long(table(caption, ("layer", "mean", "step 0, 1, ..."), rows, (1,))),
    )


def raster(rasters: Mapping[str, Html]) -> Html | None:
    """The raster of a chosen layer."""
    if not rasters:
        return None
    options = [el("option", name) for name in rasters]
    chooser = el("p", el("label", "Layer: ", for_="layer"), el("select", options, id="layer"))
    drawings = [
        el("figure", el("figcaption", f"Spikes of {name}"), svg, data_raster=True, hidden=k > 0)
        for k, (name, svg) in enumerate(rasters.items())
    ]
    return section(
        "raster",
        "Spike raster",
        el(
            "p",
            "Golden samples one after the other from left to right, a thin line between them; one "
            "row a neuron. Of large layers evenly spaced neurons are shown.",
        ),
        el("div", chooser, class_="chooser"),
        *drawings,
        el("noscript", el("style", "[data-raster][hidden] { display: block; }")),
    )


def membranes(data: Data) -> Html | None:
    """The bound for any input against what was observed."""
    if not data["activity"]:
        return None
    limit = data["membrane_limit"]
    rows = [
        (
            a["name"],
            _range(a["membrane_observed"]),
            _range(a["membrane_bound"]),
            span(a["membrane_bound"], a["membrane_observed"], limit),
        )
        for a in data["activity"]
    ]
    held = "" if limit is None else f" The target holds ±{limit:,.0f}."
    return section(
        "membranes",
        "Membranes: proved bound and observed range",
        el(
            "p",
            "Light: what no input can exceed, before the reset. Dark: what all samples reached, "
            f"after the reset. Unit: weights; the scale is a signed square root.{held}",
        ),
        _long(table("Membranes by layer", ("layer", "observed", "bound", ""), rows, (1, 2))),
    )


def _range(ends: list[float | None]) -> str:
    def word(x: float) -> str:
        return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"

    low, high = (("-∞", "∞")[k] if x is None else word(x) for k, x in enumerate(ends))
    return f"{low} to {high}"


def timing(data: Data) -> Html | None:
    """How long each branch of a join is held back."""
    if not data["timing"]:
        return None
    most = max(1, *(row["earliest"] + row["delay"] for row in data["timing"]))
    rows = [
        (
            row["neuron"],
            row["source"],
            str(row["earliest"]),
            str(row["delay"]),
            str(row["earliest"] + row["delay"]),
            bar(row["delay"], most),
        )
        for row in data["timing"]
    ]
    head = ("join", "branch from", "arrives after", "slack", "used after", "")
    return section(
        "timing",
        "Timing of joins",
        el(
            "p", "Each synapse takes one step. A branch that arrives early is delayed by its slack."
        ),
        _long(table("Steps", head, rows, (2, 3, 4))),
    )


def ledger(data: Data) -> Html | None:
    """From torch to Lava: what every stage kept, and where it first differed."""
    rows: list[tuple[Child, ...]] = []
    for line in data["ledger"]:
        moved = "no figure" if line["deviation"] is None else f"{line['deviation']:.3g}"
        rows.append(
            (
                line["name"],
                line["promise"],
                f"{line['nodes_before']} → {line['nodes_after']}",
                moved,
                f"{100 * line['agreement']:.3f} %",
                bar(line["agreement"], 1.0),
                line["divergence"] or "none",
            )
        )
    rows += _executors(data)
    stages = [
        (
            a["stage"],
            f"{a['correct']}/{a['n']}",
            f"{100 * a['rate']:.2f} %",
            f"{100 * a['interval_95'][0]:.2f} to {100 * a['interval_95'][1]:.2f} %",
            interval(a["rate"], a["interval_95"], _lowest(data)),
            ""
            if a["decisions_identical_to_previous_stage"] is None
            else f"{a['decisions_identical_to_previous_stage']}/{a['n']}",
        )
        for a in data["accuracy"]
    ]
    head = ("stage", "promise", "nodes", "outputs moved", "equal", "", "first divergence")
    accuracy = (
        *("stage", "correct", "accuracy", "95 % interval"),
        *(f"{100 * _lowest(data):.0f} to 100 %", "same decisions as before"),
    )
    return section(
        "ledger",
        "From torch to Lava",
        table("Accuracy, stage by stage", accuracy, stages, (1, 2, 3, 5)) if stages else None,
        table("Equal spikes, pass by pass, then executor by executor", head, rows, (2, 3, 4))
        if rows
        else None,
    )


def _lowest(data: Data) -> float:
    low: float = min((a["interval_95"][0] for a in data["accuracy"]), default=0.0)
    return max(0.0, int(20 * low) / 20)


def _executors(data: Data) -> list[tuple[Child, ...]]:
    groups: dict[str, list[Data]] = {}
    for f in data["findings"]:
        if f["rule"] == "PS010":
            groups.setdefault(f["where"].partition(":")[0] or "all executors", []).append(f)
    rows: list[tuple[Child, ...]] = []
    for name, found in groups.items():
        wrong = [f for f in found if f["status"] in ("FAIL", "WAIVED")]
        ran = [f for f in found if f["status"] != "NOT RUN"]
        equal = f"{len(ran) - len(wrong)} of {len(ran)} recordings" if ran else "not run"
        share = (len(ran) - len(wrong)) / len(ran) if ran else 0.0
        first = f"{wrong[0]['where']}: {wrong[0]['measured']}" if wrong else "none" if ran else ""
        rows.append((name, "same", "", "", equal, bar(share, 1.0), first))
    return rows


def cores(data: Data) -> Html | None:
    """The core map, where the report has a mapping."""
    m = resource_map(data)
    if m is None:
        return None
    rows: list[tuple[Child, ...]] = []
    for layer in m["layers"]:
        fullest = [max(c["utilisation_percent"].values(), default=0.0) for c in layer["cores"]]
        boxes = [_core(k, u) for k, u in enumerate(fullest[:_BOXES])]
        more = f"and {len(fullest) - _BOXES} more" if len(fullest) > _BOXES else None
        most = f"{max(fullest, default=0.0):.1f} %"
        drawn = el("div", boxes, more, class_="cores")
        rows.append((layer["layer"], f"{layer['neurons']:,}", str(len(fullest)), most, drawn))
    head = ("layer", "neurons", "cores", "fullest", "one box a core, filled by use")
    unknown = ", ".join(m["not_published"])
    return section(
        "cores",
        "Cores",
        el("p", m["summary"]),
        el("p", f"Not published, so not checked: {unknown}.") if unknown else None,
        _long(table(f"Cores on {m['chip']} ({m['label']})", head, rows, (1, 2, 3))),
    )


def _core(k: int, percent: float) -> Html:
    fill = min(100.0, percent) * 0.16
    kind = "mac" if percent > 100 else "ac"
    return el(
        "svg",
        el("title", f"core {k}: {percent:.1f} %"),
        el("rect", x=0, y=0, width=16, height=16, class_="bound"),
        el("rect", x=0, y=16 - fill, width=16, height=fill, class_=kind),
        width=16,
        height=16,
        role="img",
    )


def energy(data: Data) -> Html | None:
    """The projections side by side."""
    known = [x for e in data["energy"] for x in e["nanojoule_range"] if x is not None]
    if not known or not data["census"]["layers"]:
        return None
    rows = [
        (
            e["table"],
            "no figure"
            if e["nanojoule_per_sample"] is None
            else f"{e['nanojoule_per_sample']:,.1f} nJ",
            ""
            if None in e["nanojoule_range"]
            else "{:,.1f} to {:,.1f}".format(*e["nanojoule_range"]),
            bar(e["nanojoule_per_sample"] or 0.0, max(known)),
            e["boundary"],
            e["source"],
        )
        for e in data["energy"]
    ]
    head = ("table", "a sample", "quietest to busiest sample", "", "leaves out or counts", "source")
    return section(
        "energy",
        "Energy (a projection, not a result)",
        el("p", f"Between {min(known):,.1f} and {max(known):,.1f} nJ, by table and sample."),
        table("Energy of one sample on the chip, projected", head, rows, (1, 2)),
    )


def _long(content: Html) -> Html:
    """A table that scrolls within the page."""
    return Html(content.replace('class="scroll"', 'class="scroll long"', 1))
