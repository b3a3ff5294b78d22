"""Reports of older formats, as JSON of this one."""

from __future__ import annotations

from typing import Any


def upgraded(data: Any) -> Any:
    """A report of format 2 as one of format 3; anything else as it is.

    Format 2 wrote 0 where nothing was counted, and counted a synapse once however many layers of
    neurons read its current: that is not known any more, so ``arrays`` is null.
    """
    if not isinstance(data, dict) or data.get("format") != 2:
        return data
    try:
        counted = bool(data["census"]["layers"])
        stage = (data["network"] or {"stage": "captured"})["stage"]
        name = "integer network" if stage == "quantize" else "float network"
        census = {
            **data["census"],
            "network": name if counted else None,
            "samples": data["samples"] if counted else None,
            "not_counted": None if counted else "judging stopped before",
            "chip": data["census"]["chip"] if counted else None,
            "layers": [{**row, "arrays": None} for row in data["census"]["layers"]],
        }
        unknown = {} if counted else {"nanojoule_per_sample": None, "nanojoule_range": [None, None]}
        energy = [{**row, **unknown} for row in data["energy"]]
    except (KeyError, TypeError):
        return data  # reading it says what is wrong
    return {**data, "format": 3, "census": census, "energy": energy}
