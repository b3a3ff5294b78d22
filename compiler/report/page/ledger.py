"""The part of the page about what every stage kept, from torch to Lava."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from purespike.compiler.report.formats.read import Data, layers_in_order, percent
from purespike.compiler.report.page.charts import cells, interval
from purespike.compiler.report.page.elements import Child, Html, el, section, table

_STAGE = Mapping[str, float]  # share of equal values by layer


def ledger(data: Data) -> Html | None:
    """Accuracy by stage; equal spikes by pass and executor, layer by layer; first divergences."""
    order = layers_in_order(data)
    rows: list[tuple[Child, ...]] = []
    stages: list[tuple[str, _STAGE]] = []
    for line in data["ledger"]:
        moved = "not compared" if line["deviation"] is None else f"{line['deviation']:.3g}"
        stages.append((line["name"], line["layers"]))
        rows.append(
            (
                line["name"],
                line["promise"],
                f"{line['nodes_before']} → {line['nodes_after']}",
                moved,
                "not compared" if line["agreement"] is None else percent(line["agreement"]),
                _drawn(line["layers"], order, line["divergence"]),
                line["divergence"] or "none",
            )
        )
    for e in data["executors"]:
        # A layer is as equal as the worse of its spikes and its membranes.
        shares = {name: min(found.values()) for name, found in e["layers"].items() if found}
        stages.append((e["name"], shares))
        mean = sum(shares.values()) / len(shares) if shares else None
        rows.append(
            (
                e["name"],
                "same",
                "",
                "",
                "" if mean is None else percent(mean),
                _drawn(shares, order, e["divergence"]),
                e["divergence"] or "none",
            )
        )
    accuracy = _accuracy(data)
    if not rows and accuracy is None:
        return None
    head = (
        "stage",
        "promise",
        "nodes",
        "outputs moved",
        "equal",
        "layer by layer",
        "first divergence",
    )
    return section(
        "ledger",
        "From torch to Lava",
        accuracy,
        el(
            "p",
            "One cell a layer, the input on the left: blue is equal to the stage before, red is "
            "not, an arrow marks the first difference; beside it stand both membranes, and how far "
            "the first was from its threshold. Executors are compared with the interpreter, the "
            "captured graph with torch.",
        )
        if rows
        else None,
        table("Equal spikes, pass by pass, then executor by executor", head, rows, (2, 3, 4), (6,))
        if rows
        else None,
        _by_layer(stages, order),
    )


def _drawn(shares: _STAGE, order: Sequence[str], divergence: str | None) -> Html | None:
    # The longest name wins: "block1" stands before "block1.gate" in a text.
    starts = [n for n in order if divergence and divergence.startswith(f"{n} ")]
    return cells(shares, order, max(starts, key=len, default="")) if shares else None


def _by_layer(stages: Sequence[tuple[str, _STAGE]], order: Sequence[str]) -> Html | None:
    """Numbers of the stages in which something differs."""
    shown = [(name, shares) for name, shares in stages if any(s < 1 for s in shares.values())]
    if not shown:
        return None
    rows = [
        (layer, *(percent(shares[layer]) if layer in shares else "" for _, shares in shown))
        for layer in order
        if any(layer in shares for _, shares in shown)
    ]
    content = table(
        "Equal values by layer, where a stage changed any",
        ("layer", *(name for name, _ in shown)),
        rows,
        range(1, 1 + len(shown)),
    )
    return el("details", el("summary", "In numbers, layer by layer"), content)


def _accuracy(data: Data) -> Html | None:
    low = max(0.0, int(20 * min((a["interval_95"][0] for a in data["accuracy"]), default=0.0)) / 20)
    rows: list[tuple[Child, ...]] = []
    for a in data["accuracy"]:
        same = a["decisions_identical_to_previous_stage"]
        rows.append(
            (
                a["stage"],
                f"{a['correct']}/{a['n']}",
                f"{100 * a['rate']:.2f} %",
                "{:.2f} to {:.2f} %".format(*(100 * x for x in a["interval_95"])),
                interval(a["rate"], a["interval_95"], low),
                "" if same is None else f"{same}/{a['n']}",
            )
        )
    head = ("stage", "correct", "accuracy", "95 % interval", f"{100 * low:.0f} to 100 %", _SAME)
    return table("Accuracy, stage by stage", head, rows, (1, 2, 3, 5)) if rows else None


_SAME = "same decisions as before"
