"""Pages of reports: read as text, and opened in a real browser."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from base64 import b64encode
from functools import cache
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.flow_cases import FAST, ReluInstead, resnet, subject
from helpers.report_cases import Data, mistakes
from purespike.compiler.ir.interpret import Trace
from purespike.flow.build import build

CHROMIUM = next(
    (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
)
browser = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium (apt-get install chromium)")
AXE = Path(os.environ.get("AXE_CORE", "node_modules/axe-core/axe.min.js"))
VOID = {"meta", "br", "path", "rect", "line", "circle"}


class Reader(HTMLParser):
    """Elements with their attributes; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [a for t, a in self.found if t in tags]


@cache
def refused_text() -> str:
    """The report of a network with a ReLU."""
    return build(subject(ReluInstead()), FAST).report.to_json()


@cache
def whole_text() -> tuple[str, Trace]:
    """The report of a network that compiles, and its golden samples."""
    built = build(subject(resnet("iand")), FAST)
    assert built.golden is not None
    return built.report.to_json(), built.golden.trace()


def whole_case() -> tuple[Data, Trace]:
    """The same, to change at will."""
    text, trace = whole_text()
    return json.loads(text), trace


def large(data: Data, findings: int = 1000, layers: int = 300) -> Data:
    """The same report grown to many findings and layers."""
    grown = copy.deepcopy(data)
    names = [f"blocks.{k}.neuron" for k in range(layers)]
    grown["findings"] = [
        {**data["findings"][k % len(data["findings"])], "where": names[k % layers], "status": s}
        for k, s in ((k, ("FAIL", "PASS", "NOT RUN")[k % 3]) for k in range(findings))
    ]
    nodes = data["network"]["nodes"]
    for k, name in enumerate(names):
        node = {**nodes[k % len(nodes)], "name": name, "reads": [names[k - 1]] if k else ["x"]}
        if k > 3:
            node["reads"] = [names[k - 1], names[k - 3]]
        grown["network"]["nodes"].append(node)
    counts, activity = data["census"]["layers"], data["activity"]
    grown["census"]["layers"] = [
        {**counts[k % len(counts)], "name": n} for k, n in enumerate(names)
    ]
    grown["activity"] = [
        {**activity[k % len(activity)], "name": n, "rate_by_step": [0.1, 0.3] * 32}
        for k, n in enumerate(names)
    ]
    for row in grown["census"]["layers"]:
        row["ac_by_step"], row["ac_by_sample"] = [1234.0, 4321.5] * 32, [1.0, 5555.0]
    columns = data["census"]["conventions"]["layers"]
    grown["census"]["conventions"]["layers"] = [{**columns[0], "name": n} for n in names]
    for line in grown["ledger"]:
        line["layers"] = {n: k / layers for k, n in enumerate(names)}
        line["divergence"] = f"{names[1]} step 0 index (0, 1): 0 -> 1, margin 0.1"
    for e in grown["executors"]:
        e["layers"] = {n: {"spikes": 0.5, "membranes": 0.25} for n in names}
    assert mistakes(grown) == []
    return grown


def dense_spikes(layers: int = 300) -> Trace:
    """Spikes that change at every step: the longest drawing there is."""
    layer = (np.indices((64, 1, 32, 32)).sum(axis=0) % 2).astype(np.uint8)
    return Trace({f"blocks.{k}.neuron": layer for k in range(layers)}, {})


def rendered(
    page: str, folder: Path, probe: str, *flags: str, anchor: str = "", library: str = ""
) -> Any:
    """What ``probe`` (JavaScript) finds once a real browser has opened the page.

    The page's own policy stays in force: the probe is let in by its hash.
    """
    assert CHROMIUM is not None
    code = "(v) => { document.body.textContent = JSON.stringify(v); }"
    run = f"addEventListener('load', () => Promise.resolve((() => {{ {probe} }})()).then({code}));"
    for script in filter(None, (library, run)):
        hashed = b64encode(sha256(script.encode()).digest()).decode()
        page = page.replace("script-src ", f"script-src 'sha256-{hashed}' ", 1)
        before, _, after = page.rpartition("</body>")
        page = f"{before}<script>{script}</script></body>{after}"
    path = folder / "page.html"
    path.write_text(page)
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update")
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", *quiet,
            "--disable-sync", f"--user-data-dir={folder / 'profile'}", *flags, "--dump-dom",
            f"{path.as_uri()}{anchor}",
        ],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    body = done.stdout.split("<body>")[1].split("</body>")[0]
    return json.loads(unescape(body))
