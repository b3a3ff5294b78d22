"""Train a small full-spike residual network on digits, compile it, and read the verdict.

python examples/01_judge_a_network.py
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from rich import print

from purespike.cli.console import render
from purespike.compiler.rules.policy import STRICT
from purespike.flow.build import Options, build
from purespike.flow.inputs.checkpoints import digits_subject
from purespike.trainer.training.fit import train
from purespike.trainer.training.presets import DEMO


def main() -> None:
    # Two epochs are enough to see the chain; `purespike demo` trains to the end.
    model = replace(DEMO.model, stem=8, widths=(8, 8), strides=(1, 2))
    training = replace(DEMO.train, epochs=2)
    with tempfile.TemporaryDirectory() as folder:
        result = train(model, training, Path(folder) / "training", progress=False)
        built = build(
            digits_subject(result.checkpoint),
            # A barely trained network sits on its thresholds: allow what rounding does to it.
            Options(golden=8, lava_samples=8, policy=replace(STRICT, accuracy_drop=20.0)),
        )
        built.write(Path(folder) / "bundle")
        print(render(built.report))
        print("files:", sorted(p.name for p in (Path(folder) / "bundle").iterdir()))
    print(built.report.headline)


if __name__ == "__main__":
    main()
