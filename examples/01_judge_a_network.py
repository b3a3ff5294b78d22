"""Train a small full-spike residual network on digits, compile it, and read the verdict.

python examples/01_judge_a_network.py
"""

import tempfile
from pathlib import Path

import purespike as ps

# A barely trained network sits on its thresholds: allow what rounding does to it.
POLICY = """
leak_multiplies = false
accuracy_drop = 20.0  # percentage points
host_encoder = false
classifier_mac = false
description = "no multiplication on the chip; accuracy is not the point yet"
"""


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
        policy = folder / "policy.toml"
        policy.write_text(POLICY)
        build = ps.compile(trained, golden=8, lava_samples=8, policy=policy)
        build.save(folder / "bundle")
        print("files:", sorted(p.name for p in (folder / "bundle").iterdir()))
    for row in build.report.accuracy:
        print(f"{row.stage}: {row.correct} of {row.n} right")
    print(build.headline)


if __name__ == "__main__":
    main()
