"""A report says which file its network came from, and how what that leaves open was settled."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import nir
import numpy as np
import onnx
import pytest
from helpers.command_line import inside
from helpers.qonnx_cases import random_network

from purespike.compiler.report.formats.markdown import to_markdown
from purespike.compiler.report.formats.text import to_text
from purespike.compiler.report.page.page import to_html
from purespike.compiler.report.report import Report
from purespike.flow.build import build
from purespike.flow.inputs.load import load_subject
from purespike.flow.inputs.stated import Stated
from purespike.options import Options

pytestmark = pytest.mark.usefixtures("parsed_here")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of another tool's NIR file: an IF neuron whose resistance and dt decide what it does."""
    folder = tmp_path_factory.mktemp("file")
    ones = np.ones(2)
    nodes = {
        "in": nir.Input(np.array([2])),
        "w": nir.Linear(np.array([[1.0, 0.5], [0.5, 1.0]])),
        "n": nir.IF(2000 * ones, 0.7 * ones),
        "out": nir.Output(np.array([2])),
    }
    graph = nir.NIRGraph(nodes, [("in", "w"), ("w", "n"), ("n", "out")], metadata={"dt": 1e-3})
    nir.write(folder / "net.nir", graph)
    stated = Stated(None, "subtract", "dt", None, True, fires="above")
    np.savez(folder / "x.npz", inputs=np.ones((3, 4, 2), np.uint8))
    subject = load_subject(
        str(folder / "net.nir"), Stated(**{**vars(stated), "data": folder / "x.npz"})
    )
    build(subject, Options(lava="none", golden=2)).save(folder / "bundle")
    return folder / "bundle"


def test_the_report_has_the_file_its_hash_and_every_answer(bundle: Path) -> None:
    data = json.loads((bundle / "report.json").read_text())
    file = data["file"]
    assert file == {
        "name": "net.nir",
        "format": "NIR",
        "sha256": sha256((bundle.parent / "net.nir").read_bytes()).hexdigest(),
        "stated": {"reset": "subtract", "if_r": "dt", "spike_input": True, "fires": "above"},
        "assumed": {"steps": 3},
        "taken": ["dt 0.001: from its metadata"],
    }
    assert data["network"]["dt"] == 1e-3
    (neuron,) = (n for n in data["network"]["nodes"] if n["fires"])
    assert (neuron["reset"], neuron["decay"]) == ("subtract", 1)


def test_a_check_of_a_file_that_is_given_data_names_compile(bundle: Path) -> None:
    words = ("--reset", "subtract", "--if-r", "dt", "--fires", "at", "--spike-input")
    done = inside("check", bundle.parent / "net.nir", *words, "--data", bundle.parent / "x.npz")
    said = " ".join(done.stderr.split())
    assert done.returncode == 2 and "--data FILE.npz has no use here" in said
    assert "`purespike compile" in said


def test_quiet_says_what_the_verdict_is_worth(tmp_path: Path, bundle: Path) -> None:
    """Labels that nobody could guess worse: the accuracy is at chance, and PS012 holds."""
    data = tmp_path / "labels.npz"
    np.savez(data, inputs=np.ones((3, 8, 2), np.uint8), labels=np.arange(8) % 2)
    words = ("--reset", "subtract", "--if-r", "dt", "--fires", "above", "--spike-input", "--quiet")
    more = ("--data", data, "--lava", "none", "--out", tmp_path / "b")
    done = inside("compile", bundle.parent / "net.nir", *words, *more)
    assert len(done.stdout.splitlines()) == 1
    assert "at or below chance: 50.00 %" in " ".join(done.stderr.split())


def test_every_form_of_the_report_and_the_terminal_say_it(bundle: Path) -> None:
    report = Report.from_json((bundle / "report.json").read_text())
    assert report.file is not None
    words = ("net.nir", report.file.sha256, "if_r = dt", "steps = 3", "0.001 s")
    page = (bundle / "report.html").read_text()
    assert "Where is it from?" in page
    for text in (page, to_text(report), to_markdown(report).replace("\\_", "_")):
        assert all(w in text for w in words)
    said = " ".join(inside("report", bundle).stdout.split())
    assert all(w in said for w in ("net.nir", "if_r = dt", "from the data: steps = 3"))


def test_explain_says_what_a_layer_does_and_why(bundle: Path) -> None:
    life = json.loads(inside("explain", bundle, "n", "--json").stdout)
    assert life["file"]["stated"]["if_r"] == "dt" and life["dt"] == 1e-3 and life["steps"] == 3
    # Above 44 whole numbers is at 45 or more.
    assert "a spike takes 44 off" in life["membrane"]
    said = " ".join(inside("explain", bundle, "n").stdout.split())
    for words in ("keeps all of it a step", "if_r = dt", "net.nir (NIR)", "steps = 3", "0.001 s"):
        assert words in said


def test_older_reports_and_networks_without_a_file_say_nothing(bundle: Path) -> None:
    data = json.loads((bundle / "report.json").read_text())
    del data["file"], data["network"]["dt"]
    for node in data["network"]["nodes"]:
        for key in ("reset", "decay"):
            node.pop(key, None)
    report = Report.from_json(json.dumps(data))
    assert "from?" not in to_html(report) and "Network:" not in to_text(report)


def test_a_qonnx_file_names_what_was_assumed(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(random_network(0)[0], path)
    subject = load_subject(str(path), Stated())
    assert subject.file is not None
    assert (subject.file.format, dict(subject.file.assumed)) == ("QONNX", {"dt": 1e-3})
    assert subject.file.sha256 == sha256(path.read_bytes()).hexdigest()
