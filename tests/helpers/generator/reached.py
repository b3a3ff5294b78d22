"""The count: a stated number of networks of each kind, and how many reached what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from helpers.generator.cases import LINES, PROPERTIES, RULES, UNREACHED
from helpers.generator.networks import Sample, aimed, encoded, narrow, network, quantized, tuned
from helpers.generator.reach import Record, line_of, raises
from helpers.generator.refused import FAULTS, refused

LEAST = 20
FAULTY = LEAST * len(FAULTS)
KINDS: tuple[tuple[int, Callable[[int], Sample]], ...] = (
    (1200, network), (300, lambda seed: network(seed, levels=True)), (300, encoded),
    (200, tuned), (150, quantized), (30, narrow), (280, aimed),
)  # fmt: skip


def counted(share: float = 1.0) -> Record:
    """Send the networks through the passes; ``share`` of 1 is all of them."""
    record = Record()
    for count, make in KINDS:
        for seed in range(int(count * share)):
            record.passed(make(seed), PROPERTIES)
    for seed in range(int(FAULTY * share)):
        record.refused(refused(seed).attempt)
    return record


def rows(record: Record) -> Iterator[tuple[str, str, int]]:
    """(group, what, networks that reached it): operations, cases by pass, refusals."""
    for name, count in sorted(record.operations.items()):
        yield "operation", name, count
    cases = {key: record.lines[line_of(*place)] for key, place in LINES.items()}
    cases |= {key: record.rules[place] for key, place in RULES.items()}
    cases |= {key: record.properties[key] for key in PROPERTIES}
    for (name, case), count in sorted(
        cases.items(), key=lambda item: (item[0][0], _order(item[0][1]))
    ):
        yield name, case, count
    said: Counter[str] = Counter()
    for place, text in raises().items():
        said[text] += record.refusals[place]
    for text, count in sorted(said.items()):
        if text not in UNREACHED:
            yield "refusal", text, count


def _order(case: str) -> tuple[int, str]:
    number, _, rest = case.partition(",")
    return int(number), rest
