"""Which operations, cases of passes and refusals random networks reach: a record of lines run.

`Record.passed` sends a network through the passes and notes each line of theirs that ran, and each
rewriting rule that matched. A case of a pass is a line that only this case runs, a rule, or a
property of what came out (`cases`). A refusal is one ``raise`` of the modules watched, all of which
are found by reading their source; an error says by its traceback which it came from.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from helpers.generator.networks import Sample
from purespike.compiler import passes
from purespike.compiler.errors import PurespikeError
from purespike.compiler.ir.graph import Graph
from purespike.compiler.pipeline import standard_pipeline

ROOT = Path(passes.__file__).resolve().parents[1]
WATCHED = ("passes", "ir/ops", "ir/verify.py", "ir/graph.py", "proofs/widths.py")
_CLASSES = ("IRError", "AuxiliaryLeak", "BatchNormError", "HostBoundaryError", "LevelsError",
            "QuantizeError", "WidthError")  # fmt: skip
_PASSES = f"{ROOT / 'passes'}/"
Line = tuple[str, int]  # file, line


@dataclass(frozen=True)
class Passed:
    """What the passes made of a network: the graph after each, and what it noted."""

    stages: dict[str, Graph]
    notes: dict[str, tuple[str, ...]]

    @property
    def graph(self) -> Graph:
        """What the last one left."""
        return list(self.stages.values())[-1]


Property = Callable[[Passed], bool]


@dataclass
class Record:
    """How many networks reached what."""

    lines: Counter[Line] = field(default_factory=Counter)
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)  # file, function
    properties: Counter[Any] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    refusals: Counter[Line] = field(default_factory=Counter)
    networks: int = 0

    def passed(self, sample: Sample, properties: dict[Any, Property]) -> None:
        """Send a network through the passes; what they refuse is raised."""
        lines: set[Line] = set()
        rules: set[tuple[str, str]] = set()

        def local(frame: FrameType, event: str, value: Any) -> Any:
            name = frame.f_code.co_filename[len(str(ROOT)) + 1 :]
            if event == "return" and isinstance(value, tuple):
                rules.add((name, frame.f_code.co_name))
            lines.add((name, frame.f_lineno))
            return local

        def watch(frame: FrameType, event: str, value: Any) -> Any:
            return local if frame.f_code.co_filename.startswith(_PASSES) else None

        stages, notes = {"captured": sample.graph}, {}
        before = sys.gettrace()
        sys.settrace(watch)
        try:
            graph = sample.graph
            for p in standard_pipeline(**sample.options()):
                after = p.rewrite(graph)
                notes[p.name] = tuple(p.notes(graph, after))
                stages[p.name] = graph = after
        finally:
            sys.settrace(before)
        result = Passed(stages, notes)
        self.lines.update(lines)
        self.rules.update(rules)
        self.properties.update(key for key, holds in properties.items() if holds(result))
        self.operations.update({type(n.op).__name__ for n in sample.graph.nodes})
        self.networks += 1

    def refused(self, attempt: Callable[[], object]) -> PurespikeError | None:
        """The error that an attempt raises; where it was raised is counted."""
        self.networks += 1
        try:
            attempt()
        except PurespikeError as error:
            said = error.__context__ if isinstance(error.__context__, PurespikeError) else error
            last = said.__traceback__  # `verify` shows the node, of an error raised before
            while last is not None and last.tb_next is not None:
                last = last.tb_next
            assert last is not None
            path = Path(last.tb_frame.f_code.co_filename)
            self.refusals[str(path.relative_to(ROOT)), last.tb_lineno] += 1
            return error
        return None


def _files() -> Iterator[Path]:
    for name in WATCHED:
        path = ROOT / name
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def raises() -> dict[Line, str]:
    """Each ``raise`` of a refusal in the watched modules: its line, and what it says."""
    found = {}
    for path in _files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                name = ast.unparse(node.exc.func)
                if name == "refused" or name in _CLASSES:
                    found[str(path.relative_to(ROOT)), node.lineno] = _text(node.exc)
    return found


def _text(call: ast.Call) -> str:
    """The message of an error, with ... where it says what was found."""
    said = call.args[-1] if ast.unparse(call.func) == "refused" else call.args[0]
    if isinstance(said, ast.JoinedStr):
        return "".join(str(v.value) if isinstance(v, ast.Constant) else "..." for v in said.values)
    return str(said.value) if isinstance(said, ast.Constant) else ast.unparse(said)


def line_of(file: str, snippet: str, inside: str = "") -> Line:
    """The line of a file with a text, behind the definition of a function where one is named.

    Raises:
        LookupError: If no line has it, or several.
    """
    source = (ROOT / file).read_text(encoding="utf-8").splitlines()
    first, last = 0, len(source)
    if inside:
        tree = ast.parse("\n".join(source))
        spans = [(n.lineno, n.end_lineno or 0) for n in ast.walk(tree)
                 if isinstance(n, ast.FunctionDef) and n.name == inside]  # fmt: skip
        if len(spans) != 1:
            raise LookupError(f"{file} has {len(spans)} functions {inside}")
        first, last = spans[0][0] - 1, spans[0][1]
    found = [k for k in range(first, last) if snippet in source[k]]
    if len(found) != 1:
        raise LookupError(f"{file} has {len(found)} lines with {snippet!r}")
    return file, found[0] + 1
