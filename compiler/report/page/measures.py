"""The parts of the page about numbers: counts, firing, membranes, timing, ledger, cores, energy."""

from __future__ import annotations

from collections.abc import Mapping

from purespike.compiler.report.formats.read import Data, amount, counted, joins, resource_map
from purespike.compiler.report.page.charts import bar, decades, slack, span, step_bars
from purespike.compiler.report.page.elements import Child, Html, el, section, table
from purespike.compiler.wording import figure

_BOXES = 128  # cores of a layer that are drawn


def counts(data: Data) -> Html | None:
    """AC, MAC and ADD by layer."""
    layers = [
        c
        for c in data["census"]["layers"]
        if any(c["counts"][k] for k in ("ac", "mac", "mul", "unknown"))
        or (c["operation"] == "Add" and c["counts"]["add"])
    ]
    if not layers:
        return None
    largest = max(max(c["counts"]["ac"], c["counts"]["mac"]) for c in layers)
    steps = max((x for c in layers for x in c["ac_by_step"]), default=0.0)
    multiplies = any(c["counts"]["mac"] or c["counts"]["mul"] for c in layers)
    rows: list[tuple[Child, ...]] = []
    for c in layers:
        ends, n = c["ac_by_sample"], c["counts"]
        rows.append(
            (
                c["name"],
                c["runs_on"],
                "" if c["arrays"] is None else f"{c['arrays']:,}",
                amount(n["ac"]),
                bar(n["ac"], largest),
                " to ".join(map(figure, ends)) if ends else "",
                step_bars(c["ac_by_step"], steps, figure) if c["ac_by_step"] else None,
                amount(n["mac"]),
                bar(n["mac"], largest, "mac") if multiplies else None,
                amount(n["mul"]),
                amount(n["add"]),
            )
        )
    head = (
        *("layer", "runs on", "arrays", "AC", "", "by sample", "step 0, 1, ..."),
        *("MAC", "", "MUL", "ADD"),
    )
    return section(
        "counts",
        "Operations by layer",
        el(
            "p",
            "AC: a spike meets a weight, which is added. MAC: something that is no spike meets a "
            "weight, which needs a multiplication. Arrays: how often the synapses stand on the "
            "chip, once for each layer of neurons that reads their current; AC and MAC are those "
            "of all of them. ",
            f"Counted: {counted(data)}. Unit: {data['census']['unit']}; by sample: the quietest "
            "and the busiest one.",
            f" {joins(data)}." if joins(data) else None,
        ),
        _long(table("Operations a sample, all time steps", head, rows, (2, 3, 5, 7, 9, 10))),
    )


def conventions(data: Data) -> Html | None:
    """The same run as other tools and the AAP paper count it."""
    found = data["census"]["conventions"]
    if not found:
        return None
    tools = sorted(found["total"], key=lambda tool: tool != "purespike")
    rows = [
        (
            tool,
            figure(found["total"][tool]["ac"]),
            figure(found["total"][tool]["mac"]),
            found["why"].get(tool, "the proven domain of every input, exact at borders"),
        )
        for tool in tools
    ]
    layers = [
        (
            layer["name"],
            *(figure(layer[tool][kind]) for tool in tools for kind in ("ac", "mac")),
        )
        for layer in found["layers"]
    ]
    names = [f"{tool}, {kind}" for tool in tools for kind in ("AC", "MAC")]
    by_layer = table(f"Unit: {found['unit']}", ("layer", *names), layers, range(1, 1 + len(names)))
    return section(
        "conventions",
        "The same run, as other tools count it",
        table(
            f"Unit: {found['unit']}",
            ("counted by", "AC", "MAC", "why it differs"), rows, (1, 2), (3,),
        ),
        el("details", el("summary", "Layer by layer"), _long(by_layer)),
        el("h3", "As the full-spike AAP paper counts"),
        _aap(found["aap"]),
    )  # fmt: skip


def _aap(costs: Data) -> Html:
    low, high = costs["ec_nanojoule"]
    rows = [
        ("DC, Eq. 7", f"{figure(costs['dc_nanojoule'], 1)} nJ", "the operations that were counted"),
        (
            "EC, Eq. 15",
            f"{figure(low, 1)} to {figure(high, 1)} nJ",
            "no spikes reach a synapse"
            if costs["firing_rate"] is None
            else f"any firing rate from 0 to 1; here it is {100 * costs['firing_rate']:.2f} %",
        ),
        (
            "SNN to ANN, Eq. 6",
            "no figure" if costs["snn_to_ann"] is None else f"{100 * costs['snn_to_ann']:.2f} %",
            "energy relative to the same network with real-valued activations",
        ),
    ]
    return table(f"A sample; {costs['source']}", ("cost", "", "of"), rows, (1,), (2,))


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
            step_bars(a["rate_by_step"], largest, lambda r: f"{100 * r:.1f} %"),
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

    if all(x is None for x in ends):
        return "not proved"
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
            slack(row["earliest"], row["delay"], most),
        )
        for row in data["timing"]
    ]
    head = ("join", "branch from", "arrives after", "slack", "used after", "")
    return section(
        "timing",
        "Timing of joins",
        el(
            "p",
            "Each synapse takes one step. A branch that arrives early (light) is delayed by its "
            "slack (dark), so that all branches of a join are used in the same step.",
        ),
        _long(table("Steps", head, rows, (2, 3, 4))),
    )


def cores(data: Data) -> Html | None:
    """The core map, where the report has a mapping."""
    m = resource_map(data)
    if m is None:
        return None
    rows: list[tuple[Child, ...]] = []
    for layer in m["layers"]:
        used = [c["utilisation_percent"] for c in layer["cores"]]
        fullest = max((p for u in used for p in u.items()), key=lambda p: p[1], default=("", 0.0))
        boxes = [_core(k, u) for k, u in enumerate(used[:_BOXES])]
        more = f"and {len(used) - _BOXES} more" if len(used) > _BOXES else None
        most = f"{fullest[1]:.1f} % {fullest[0]}"
        drawn = el("div", boxes, more, class_="cores")
        rows.append((layer["layer"], f"{layer['neurons']:,}", str(len(used)), most, drawn))
    head = ("layer", "neurons", "cores", "fullest", "one box a core, filled by use")
    unknown = ", ".join(m["not_published"])
    return section(
        "cores",
        "Cores",
        el("p", m["summary"]),
        el("p", f"Not published, so not checked: {unknown}.") if unknown else None,
        _long(table(f"Cores on {m['chip']} ({m['label']})", head, rows, (1, 2, 3), (4,))),
    )


def _core(k: int, used: Mapping[str, float]) -> Html:
    percent = max(used.values(), default=0.0)
    fill = min(100.0, percent) * 0.16
    kind = "mac" if percent > 100 else "ac"
    each = ", ".join(f"{name} {p:.1f} %" for name, p in used.items())
    return el(
        "svg",
        el("title", f"core {k}: {each}"),
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
    ends = (min(x for x in known if x > 0), max(known)) if max(known) > 0 else None
    rows = [
        (
            e["table"],
            "no figure"
            if e["nanojoule_per_sample"] is None
            else f"{figure(e['nanojoule_per_sample'], 1)} nJ",
            ""
            if None in e["nanojoule_range"]
            else " to ".join(figure(x, 1) for x in e["nanojoule_range"]),
            decades(e["nanojoule_range"], ends)
            if ends and all(e["nanojoule_range"])  # neither unknown nor zero
            else None,
            e["boundary"],
            e["source"],
        )
        for e in data["energy"]
    ]
    head = ("table", "a sample", "quietest to busiest sample", "", "leaves out or counts", "source")
    return section(
        "energy",
        "Energy (a projection, not a result)",
        el(
            "p",
            f"Between {figure(min(known), 1)} and {figure(max(known), 1)} nJ, by table and "
            "sample. The scale of the bars is logarithmic.",
        ),
        table("Energy of one sample on the chip, projected", head, rows, (1, 2), (4, 5)),
    )


def _long(content: Html) -> Html:
    """A table that scrolls within the page."""
    return Html(content.replace('class="scroll"', 'class="scroll long"', 1))
