"""Edits of JSON, of the page, of scripts, and of which files there are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from adversarial.edits import MANIFEST, Change, Inapplicable, Random, edit

from purespike.compiler.report.page.page import to_html
from purespike.compiler.report.report import Report
from purespike.targets.bundle.bundle import read_golden

# JSON: any leaf, list or key.

Place = tuple[Any, Any]  # a list or object, and an index or key of it


def places(data: Any, at: str = "") -> Iterator[tuple[str, Place]]:
    """Every place in a JSON value, with its path."""
    pairs = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in pairs:
        path = f"{at}[]" if isinstance(data, list) else f"{at}.{key}".lstrip(".")
        yield path, (data, key)
        if isinstance(value, dict | list):
            yield from places(value, path)


def document(
    name: str,
    change: Callable[[Random, Place], None],
    fits: Callable[[str, Any], bool],
    after: Callable[[Path, Any], None] = lambda folder, data: None,
) -> Change:
    """One place of a JSON file; paths are chosen first, so that long lists do not win."""

    def do(r: Random, folder: Path) -> None:
        path = folder / name
        data = json.loads(path.read_text())
        found: dict[str, list[Place]] = {}
        for at, place in places(data):
            if fits(at, place[0][place[1]]):
                found.setdefault(at, []).append(place)
        if not found:
            raise Inapplicable
        chosen = found[sorted(found)[r.integers(len(found))]]
        change(r, chosen[r.integers(len(chosen))])
        path.write_text(json.dumps(data, indent=1, sort_keys=name != "lava/program.json") + "\n")
        after(folder, data)

    return do


def altered(r: Random, place: Place) -> None:
    """A leaf as another value of its type."""
    data, key = place
    value = data[key]
    if isinstance(value, bool):
        data[key] = not value
    elif isinstance(value, int | float):
        by = [1, -1, value][r.integers(3)] or 1
        data[key] = value + by
    elif isinstance(value, str):
        texts = [value + "x", value.replace("a", "o") if "a" in value else value[1:], ""]
        data[key] = next(t for t in [texts[r.integers(3)], *texts] if t != value)
    else:
        data[key] = 1


def emptied(r: Random, place: Place) -> None:
    data, key = place
    data[key] = type(data[key])()


def removed(r: Random, place: Place) -> None:
    data, key = place
    del data[key]


def leaf(at: str, value: Any) -> bool:
    return not isinstance(value, dict | list)


def full(at: str, value: Any) -> bool:
    return isinstance(value, dict | list) and bool(value)


def page(folder: Path, data: Any) -> None:
    """The page of the edited report, where one can be made."""
    try:
        text = to_html(Report.from_data(data), read_golden(folder / "golden.npz").trace())
    except Exception:  # a report that has no page
        return
    (folder / "report.html").write_text(text, encoding="utf-8")


for _name in ("golden_network.json", "lava/program.json"):
    _own = lambda at, v: leaf(at, v) and at != "arrays_sha256"  # noqa: E731
    edit("a value", _name)(document(_name, altered, _own))
    edit("a list or object emptied", _name)(document(_name, emptied, full))
    edit("an entry removed", _name)(document(_name, removed, lambda at, v: at != "arrays_sha256"))

edit("a delay by one", "lava/program.json")(
    document(
        "lava/program.json", altered, lambda at, v: at.endswith("delay") and isinstance(v, int)
    )
)
edit("a value", "report.json")(document("report.json", altered, leaf))
edit("a list or object emptied", "report.json")(document("report.json", emptied, full))
edit("an entry removed", "report.json")(document("report.json", removed, lambda at, v: True))

# What only the build knew: kept as said, and caught only because the page no longer fits.
HISTORY = re.compile(
    r"model|sources|versions|samples|accuracy\[\]\.(stage|correct|decisions)|waivers|options|policy"
    r"|executors|ledger"
)


def decided(at: str, value: Any) -> bool:
    return leaf(at, value) and not HISTORY.match(at)


edit("a value, and the page again", "report.json")(document("report.json", altered, decided, page))
edit("a list emptied, and the page again", "report.json")(
    document("report.json", emptied, lambda at, v: full(at, v) and not HISTORY.match(at), page)
)


for _what, _paths in {
    "a count": (r"census\.layers\[\]\.counts\.\w+", r"census\.chip\.\w+"),
    "an energy": (r"energy\[\]\.nanojoule_per_sample",),
    "an accuracy": (r"accuracy\[\]\.(rate|n|interval_95\[\])",),
    "a bound": (r"activity\[\]\.membrane_bound\[\]", r"findings\[\]\.measured"),
    "a status": (r"findings\[\]\.status", r"verdict\.compliant", r"verdict\.headline"),
    "a firing rate": (r"activity\[\]\.rate_by_step\[\]", r"census\.layers\[\]\.firing_rate"),
    "a limit": (r"findings\[\]\.limit", r"membrane_limit"),
}.items():

    def _fits(at: str, value: Any, paths: tuple[str, ...] = _paths) -> bool:
        return value is not None and any(re.fullmatch(p, at) for p in paths)

    edit(f"{_what}, and the page again", "report.json")(
        document("report.json", altered, _fits, page)
    )


@edit("a key twice", "report.json")
def _(r: Random, folder: Path) -> None:
    path = folder / "report.json"
    text = path.read_text()
    assert text.startswith("{\n")
    path.write_text('{\n "samples": 1000000,\n' + text[2:])


@edit("an option", MANIFEST)
def _(r: Random, folder: Path) -> None:
    document(MANIFEST, altered, lambda at, v: leaf(at, v) and at.startswith("options"))(r, folder)


@edit("a version", MANIFEST)
def _(r: Random, folder: Path) -> None:
    document(MANIFEST, altered, lambda at, v: at.startswith("versions."))(r, folder)


@edit("a statement more", MANIFEST)
def _(r: Random, folder: Path) -> None:
    data = json.loads((folder / MANIFEST).read_text())
    data["approved by"] = "hardware"
    (folder / MANIFEST).write_text(json.dumps(data))


@edit("a size", MANIFEST)
def _(r: Random, folder: Path) -> None:
    data = json.loads((folder / MANIFEST).read_text())
    data["wrong size of"] = sorted(data["files"])[r.integers(len(data["files"]))]
    (folder / MANIFEST).write_text(json.dumps(data))


# Texts: scripts and the page.


def text(name: str, change: Callable[[Random, list[str]], None]) -> Change:
    def do(r: Random, folder: Path) -> None:
        path = folder / name
        if not path.is_file():
            raise Inapplicable
        lines = path.read_text(encoding="utf-8").split("\n")
        change(r, lines)
        path.write_text("\n".join(lines), encoding="utf-8")

    return do


def line_removed(r: Random, lines: list[str]) -> None:
    full_lines = [k for k, line in enumerate(lines) if line.strip()]
    del lines[full_lines[r.integers(len(full_lines))]]


def line_added(r: Random, lines: list[str]) -> None:
    lines.insert(int(r.integers(len(lines))), "import os  # nothing else")


def number_changed(r: Random, lines: list[str]) -> None:
    with_digits = [k for k, line in enumerate(lines) if re.search(r"\d", line)]
    if not with_digits:
        raise Inapplicable
    k = with_digits[r.integers(len(with_digits))]
    lines[k] = re.sub(r"\d", lambda m: str((int(m[0]) + 1) % 10), lines[k], count=1)


def sign_changed(r: Random, lines: list[str]) -> None:
    k = next((k for k, line in enumerate(lines) if "different[key] += " in line), None)
    if k is None:
        raise Inapplicable
    lines[k] = lines[k].replace("+= int(", "+= 0 * int(")


def word_changed(r: Random, lines: list[str]) -> None:
    for k, line in enumerate(lines):
        for found, other in (("NOT PROVED", "SPIKE-ONLY"), ("NOT SPIKE-ONLY", "SPIKE-ONLY")):
            if found in line:
                lines[k] = line.replace(found, other)
                return
    raise Inapplicable


for _file in ("lava/run.py", "replay.py", "lava/lava_shim.py", "lava/processes/soft_if.py"):
    edit("a line removed", _file)(text(_file, line_removed))
    edit("a line added", _file)(text(_file, line_added))
    edit("a number", _file)(text(_file, number_changed))
edit("differences not counted", "lava/run.py")(text("lava/run.py", sign_changed))
edit("a number", "report.html")(text("report.html", number_changed))
edit("the verdict", "report.html")(text("report.html", word_changed))
edit("a line added", "report.html")(text("report.html", line_added))


def gone(name: str) -> Change:
    def do(r: Random, folder: Path) -> None:
        if not (folder / name).is_file():
            raise Inapplicable
        (folder / name).unlink()

    return do


for _file in (
    "report.html",
    "replay.py",
    "lava/run.py",
    "lava/program.json",
    "model.onnx",
    "model.qonnx.onnx",
    "golden_network.npz",
):
    edit("the file removed", _file)(gone(_file))


@edit("a file more", "lava/setup.py")
def _(r: Random, folder: Path) -> None:
    (folder / "lava" / "setup.py").write_text("print('run me')\n")
