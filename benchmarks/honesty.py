"""Who is fooled? The honesty corpus of the tests through purespike, syops-counter and NeuroBench.

    python benchmarks/honesty.py [--only-peers]

The peers live in an environment of their own, ``.venv-peers``, made on the first run without their
pinned dependencies; torch is the one of this environment. If one cannot be installed or imported,
that is its result. Peers count and give no verdict, so theirs is: compliant if nothing but the last
linear layer was counted as MAC. They get every convolution and pool as a plain torch module, which
they need to see it at all, and syops-counter ignores batch norm, as its own example does.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
PEERS = ROOT / ".venv-peers"
PACKAGES = (
    "syops==0.0.5",
    "spikingjelly==0.0.0.0.12",
    "progress",
    "neurobench==2.3.0",
    "snntorch==1.0.0",
)
# What the peers do not claim to see: widths, registers, timing, equal executors, accuracy.
OPERATIONS = ("PS001", "PS002", "PS003", "PS004", "PS005", "PS011", "refused")


def make_environment() -> str:
    """An interpreter for the peers, or an empty text and why there is none."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
        shared = next(p for p in sys.path if p.endswith("site-packages"))
        site = next((PEERS / "lib").glob("python*")) / "site-packages"
        (site / "shared.pth").write_text(f"import site; site.addsitedir({shared!r})\n")
        for package in PACKAGES:
            done = subprocess.run(
                [python, "-m", "pip", "install", "-q", "--no-deps", package],
                capture_output=True,
                text=True,
            )
            if done.returncode:
                print(f"{package}: not installed: {done.stderr.strip().splitlines()[-1]}")
    return str(python)


def corpus() -> list[Any]:
    from adversarial import breaking_modules, holding_modules

    return [*breaking_modules.corpus.cases, *holding_modules.corpus.cases]


# In the peers' environment -----------------------------------------------------------------------


def plain(module: Any) -> Any:
    """The network with torch's own layers inside wrappers that merge time and batch."""
    import torch
    from torch import nn

    from purespike.trainer.nn import layers

    class Merged(nn.Module):
        def __init__(self, layer: Any) -> None:
            super().__init__()
            kind = next(t for t in type(layer).__mro__ if t.__module__.startswith("torch.nn"))
            self.layer = layer
            self.layer.__class__ = kind

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.layer(x.flatten(0, 1))
            return y.reshape(*x.shape[:2], *y.shape[1:])

    ours = (layers.Conv2d, layers.BatchNorm2d, layers.AvgPool2d, layers.MaxPool2d)
    for name, child in list(module.named_children()):
        if type(child) in (*ours, layers.GlobalAvgPool2d):
            setattr(module, name, Merged(child))
        else:
            plain(child)
    return module


def syops_rule() -> Callable[[Any, Any, Any], float | None]:
    import numpy as np
    import syops  # noqa: F401  # its import is part of the question
    from syops.ops import MODULES_MAPPING
    from torch import nn

    def count(module: Any, args: Any, out: Any) -> float | None:
        if type(module) not in MODULES_MAPPING or isinstance(module, nn.BatchNorm2d):
            return None
        module.__syops__ = np.zeros(4)
        MODULES_MAPPING[type(module)](module, args, out)
        return float(module.__syops__[2])

    return count


def neurobench_rule() -> Callable[[Any, Any, Any], float | None]:
    from neurobench.metrics.utils.layers import single_layer_MACs
    from torch import nn

    def count(module: Any, args: Any, out: Any) -> float | None:
        if not isinstance(module, nn.Conv2d | nn.Linear):
            return None
        operations, spiking = single_layer_MACs(args[0], module)
        return 0.0 if spiking else float(operations)

    return count


def peer_verdict(case: Any, rule: Callable[[Any, Any, Any], float | None]) -> str:
    """compliant, not compliant, or why the peer cannot say."""
    import numpy as np
    import torch
    from torch import nn

    trial = case.make()
    counted: list[tuple[bool, float]] = []
    busy = False

    def hook(module: Any, args: Any, out: Any) -> None:
        nonlocal busy
        if busy:
            return
        busy = True  # NeuroBench runs a copy of the layer, hooks included
        try:
            mac = rule(module, args, out)
        finally:
            busy = False
        if mac is not None:
            counted.append((isinstance(module, nn.Linear), mac))

    try:
        model = plain(trial.model.eval())
        for module in model.modules():
            if not list(module.children()):
                module.register_forward_hook(hook)
        with torch.no_grad():
            model(torch.from_numpy(trial.spikes().astype(np.float32)))
    except Exception as e:
        return f"cannot run: {type(e).__name__}"
    if counted and counted[-1][0]:
        counted.pop()
    return "not compliant" if any(mac for _, mac in counted) else "compliant"


def peers() -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    results: dict[str, Any] = {}
    for name, make in (("syops-counter 0.0.5", syops_rule), ("NeuroBench 2.3.0", neurobench_rule)):
        try:
            rule = make()
        except Exception as e:
            results[name] = f"cannot be imported: {type(e).__name__}: {e}"
            continue
        results[name] = {case.name: peer_verdict(case, rule) for case in corpus()}
    return results


# Here --------------------------------------------------------------------------------------------


def ours() -> dict[str, str]:
    import torch
    from adversarial.case import judge

    torch.set_num_threads(1)
    return {c.name: "compliant" if judge(c).compliant else "not compliant" for c in corpus()}


def table(verdicts: dict[str, str], *, operations: bool) -> str:
    right = wrong = silent = dumb = 0
    for case in corpus():
        about = not case.expected or any(e.startswith(OPERATIONS) for e in case.expected)
        if operations and not about:
            continue
        said, wanted = verdicts[case.name], "not compliant" if case.expected else "compliant"
        right += said == wanted
        silent += said == "compliant" != wanted
        dumb += said.startswith("cannot")
        wrong += said != wanted and not said.startswith("cannot")
    return f"{right:4d} right {wrong:4d} wrong ({silent} passed in silence) {dumb:4d} cannot run"


def rest() -> str:
    """Graphs and changed bundles, which no peer reads."""
    import shutil

    from adversarial import breaking_graphs, bundles, holding_graphs
    from adversarial.case import judge

    right = total = 0
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "good"
        bundles.write_good_bundle(good)
        for k, case in enumerate(bundles.corpus.cases):
            copy = Path(folder) / str(k) / "bundle"
            shutil.copytree(good, copy)
            right += judge(case, good, copy).compliant != bool(case.expected)
            total += 1
    for module in (breaking_graphs, holding_graphs):
        for case in module.corpus.cases:
            right += judge(case).compliant != bool(case.expected)
            total += 1
    return f"{right} of {total} right"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--only-peers", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.peers:
        print(json.dumps(peers()))
        return
    cases = corpus()
    breaking = sum(bool(c.expected) for c in cases)
    print(f"networks: {breaking} not compliant, {len(cases) - breaking} compliant")
    done = subprocess.run([make_environment(), __file__, "--peers"], capture_output=True, text=True)
    found: dict[str, Any] = (
        {"peers": done.stderr.strip().splitlines()[-1]}
        if done.returncode
        else json.loads(done.stdout.splitlines()[-1])
    )
    if not options.only_peers:
        found = {"purespike": ours(), **found}
    for scope in (False, True):
        print("of these, about operations alone:" if scope else "all networks:")
        for name, verdicts in found.items():
            text = verdicts if isinstance(verdicts, str) else table(verdicts, operations=scope)
            print(f"  {name:22s}{text}")
    if not options.only_peers:
        print(f"graphs and changed bundles, purespike: {rest()}")


if __name__ == "__main__":
    main()
