"""Train a small full-spike residual network on digits, compile it, and read the verdict.

python examples/01_judge_a_network.py
"""

import tempfile
from dataclasses import replace
from pathlib import Path

import purespike as ps
from purespike.compiler.rules.policy import STRICT


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Two epochs are enough to see the chain; `purespike demo` trains to the end.
        trained = ps.train(
            "digits",
            out=folder / "training",
            epochs=2,
            changes={"model.stem": 8, "model.widths": [8, 8], "model.strides": [1, 2]},
            progress=False,
        )
        print(trained)
        # A barely trained network sits on its thresholds: allow what rounding does to it.
        policy = replace(STRICT, accuracy_drop=20.0)
        build = ps.compile(trained, golden=8, lava_samples=8, policy=policy)
        build.save(folder / "bundle")
        print("files:", sorted(p.name for p in (folder / "bundle").iterdir()))
    for row in build.report.accuracy:
        print(f"{row.stage}: {row.correct} of {row.n} right")
    print(build.headline)


if __name__ == "__main__":
    main()
