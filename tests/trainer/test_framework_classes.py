"""The tables of docs/inputs.md are what the installed frameworks show, class by class."""

from __future__ import annotations

import pytest
from helpers.framework_classes import BEGIN, DOCS, END, markdown

pytestmark = pytest.mark.usefixtures("parsed_here")

pytest.importorskip("snntorch")
pytest.importorskip("spikingjelly.activation_based.neuron")


@pytest.mark.timeout(600)
def test_the_documentation_says_what_each_class_does() -> None:
    made = markdown()
    written = DOCS.read_text().split(BEGIN)[1].split(END)[0].strip()
    assert written == made.strip(), (
        "run: PYTHONPATH=tests python tests/helpers/framework_classes.py"
    )
    for name in ("Leaky", "LIFNode", "Conv2d", "GroupNorm", "Upsample"):
        assert name in made
    assert made.count("| exact |") == 9  # in each table something is
