"""Guards of the house's layout, each against a mistake that nothing else would notice."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_package_folder_is_listed() -> None:
    """setuptools drops an unlisted subpackage from the wheel without a word."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found: set[str] = set()
    for name, folder in tool["package-dir"].items():
        for init in (ROOT / folder).rglob("__init__.py"):
            tail = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join((name, *tail)))
    # Beside them one folder of texts.
    assert found | {"purespike.compiler.rules.pages"} == set(tool["packages"])


def test_tests_are_no_package() -> None:
    """lava-nc's wheel installs a top-level package called tests."""
    assert not (ROOT / "tests" / "__init__.py").exists()


def test_the_command_answers_without_loading_torch() -> None:
    code = (
        "import sys, purespike.cli.app, purespike.judge.compiled, purespike.cli.installation\n"
        "sys.exit(sorted({'torch', 'lightning', 'lava'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_no_module_hides_what_its_package_exports() -> None:
    """Importing ``package.name`` later sets that name in the package: a function would be gone.

    One that comes from the module of its own name is safe: that module was imported first.
    """
    for folder in ("src", "trainer", "compiler", "targets"):
        for init in (ROOT / folder).rglob("__init__.py"):
            modules = {path.stem for path in init.parent.iterdir()}
            text = init.read_text(encoding="utf-8")
            for source, name in re.findall(r"from [\w.]+?(\w+) import \w+ as (\w+)", text):
                assert name == source or name not in modules, (init, name)
