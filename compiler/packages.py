"""Packages that are not installed: what brings them. Plain Python, nothing else."""

from __future__ import annotations

from importlib.util import find_spec

from purespike.compiler.errors import PurespikeError

# By the name that is imported: the extra of purespike that brings it. All others in use come with
# purespike itself, or are the user's own.
EXTRAS = {
    "aedat": "events",
    "asteval": "lava",
    "PIL": "train",
    "dask": "dask",
    "distributed": "dask",
    "lightning": "train",
    "matplotlib": "report",
    "networkx": "lava",
    "nirtorch": "interop",
    "safetensors": "torch",
    "scipy": "lava",
    "sklearn": "train",
    "snntorch": "interop",
    "tensorboardX": "train",
    "tonic": "events",
    "torch": "torch",
}
# Where the name on PyPI is another one.
PYPI = {"PIL": "pillow", "sklearn": "scikit-learn", "lava": "lava-nc", "yaml": "pyyaml"}


class PackageError(PurespikeError):
    """A package that a command needs is not installed, or cannot be loaded."""


def install(package: str) -> str:
    """The command that brings a package."""
    top = package.partition(".")[0]
    if top == "lava":
        return "pip install --no-deps --ignore-requires-python lava-nc==0.10.0 (docs/lava.md)"
    return (
        f"pip install 'purespike[{EXTRAS[top]}]'"
        if top in EXTRAS
        else (f"pip install {PYPI.get(top, top)}")
    )


def require_packages(extra: str, *packages: str) -> None:
    """Say at once all that a command will need, before it loads any of it.

    Args:
        extra: Of purespike, which brings them.
        packages: By the names that are imported.

    Raises:
        PackageError: If one of them is not installed.
    """
    if gone := [p for p in packages if find_spec(p) is None]:
        raise PackageError(
            "this needs packages that are not installed",
            found=f"no {', '.join(PYPI.get(p, p) for p in gone)}",
            remedy=f"pip install 'purespike[{extra}]'",
        )


def missing_package(error: ImportError) -> PackageError | None:
    """The error as a user can act on it; None where a module of purespike itself is the cause."""
    top = (error.name or "").partition(".")[0]
    if top in ("", "purespike"):
        return None
    gone = isinstance(error, ModuleNotFoundError)
    return PackageError(
        f"this needs the package {PYPI.get(top, top)}, which is "
        + ("not installed" if gone else "installed and cannot be loaded"),
        found=str(error),
        remedy=install(top),
    )
