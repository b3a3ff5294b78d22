"""Every rule has its page, which every finding links to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from purespike.cli.app import app
from purespike.compiler.errors import UsageError
from purespike.compiler.rules.finding import RULES, WAIVERS, Rule

ROOT = Path(__file__).parents[1]
SECTIONS = ["What it checks", "Why", "An example that fails", "How to fix it"]


@pytest.mark.parametrize("rule", [WAIVERS, *RULES], ids=lambda r: r.id)
def test_every_rule_has_a_page_with_its_sections(rule: Rule) -> None:
    text = (ROOT / rule.help).read_text(encoding="utf-8")
    assert text.startswith(f"# {rule.id}: {rule.title}\n")
    _, *parts = re.split(r"^## ", text, flags=re.MULTILINE)
    assert [p.partition("\n")[0] for p in parts] == SECTIONS
    assert all(len(p.partition("\n")[2].split()) > 8 for p in parts), "a section says nothing"
    assert "```" in parts[2]
    table = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    assert f"[{rule.id}](rules/{rule.id}.md)" in table


def test_the_command_prints_the_page_of_every_rule_and_lists_them() -> None:
    run = CliRunner().invoke
    listed = [line.split("  ") for line in run(app, ["rule"]).output.splitlines()]
    assert listed == [[r.id, r.title] for r in (WAIVERS, *RULES)]
    for r in (WAIVERS, *RULES):
        assert run(app, ["rule", r.id]).output == (ROOT / r.help).read_text(encoding="utf-8")
        assert r.command == f"purespike rule {r.id}"
    assert run(app, ["rule", "5"]).output == run(app, ["rule", "ps005"]).output
    for unknown in ("PS999", "../PS005", "", "²"):
        found = run(app, ["rule", unknown]).exception
        assert isinstance(found, UsageError) and "PS014" in found.allowed


def test_no_page_is_left_over() -> None:
    pages = {p.stem for p in (ROOT / "docs" / "rules").glob("*.md")}
    assert pages == {r.id for r in (WAIVERS, *RULES)}


def test_the_ci_examples_are_yaml_and_name_options_that_exist() -> None:
    text = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    commands = " ".join(re.findall(r"purespike (?:compile|report|diff|check)[^\n]*", text))
    help_ = "".join(str(CliRunner().invoke(app, [c, "--help"]).output) for c in COMMANDS)
    for option in set(re.findall(r"--[a-z-]+", commands)):
        assert option in help_, option
    first, second = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    steps = yaml.safe_load(first)["jobs"]["verdict"]["steps"]
    assert all("run" in s or "uses" in s for s in steps)
    assert yaml.safe_load(second)["repos"][0]["hooks"][0]["id"] == "spike-only"


COMMANDS = ("compile", "report", "diff", "check")
