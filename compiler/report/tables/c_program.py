"""The footprint of the C program."""

from __future__ import annotations

from purespike.compiler.report.rows.c_program import CProgram
from purespike.compiler.report.tables.table import Column, Table, numbers
from purespike.compiler.wording import figure


def c_program_table(program: CProgram) -> Table:
    """Constants, working memory and additions by layer; memory in bytes."""
    rows = tuple(
        (
            r.name,
            *(f"{n:,}" for n in (r.neurons, r.weights, r.constants, r.state, r.spikes)),
            f"{r.additions:,}",
            figure(r.measured),
        )
        for r in program.layers
    )
    layers = program.layers
    sums = [sum(getattr(r, k) for r in layers) for k in ("neurons", "weights", "constants")]
    kept = [sum(getattr(r, k) for r in layers) for k in ("state", "spikes", "additions")]
    total = (
        "all",
        *(f"{n:,}" for n in (*sums, *kept)),
        figure(sum(r.measured for r in layers)),
    )
    columns = (
        Column("layer", layer=True),
        *numbers("neurons", "weights", "other constants", "membranes", "spikes"),
        *numbers("most additions per step", "mean"),
    )
    return Table(f"C program: {sizes(program)}", columns, (*rows, total), sums=1)


def sizes(program: CProgram) -> str:
    """How large it is, in words."""
    return (
        f"{program.rom_bytes:,} bytes of constants, {program.ram_bytes:,} bytes of working memory "
        "(code comes on top)"
    )
