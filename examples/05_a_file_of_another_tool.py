"""A NIR file of another tool: what it leaves open, its verdict, and the bundle it becomes.

python examples/05_a_file_of_another_tool.py
"""

import tempfile
from pathlib import Path

import nir
import numpy as np

import purespike as ps


def write(path: Path) -> None:
    """Two layers of IF neurons, as an exporter would write them."""
    r = np.random.default_rng(0)

    def layer(inputs: int, outputs: int) -> list[nir.NIRNode]:
        weight = r.integers(-4, 8, (outputs, inputs)) / 8 + 1 / 64
        ones = np.ones(outputs)
        return [nir.Linear(weight), nir.IF(r=ones, v_threshold=ones, v_reset=0 * ones)]

    nir.write(path, nir.NIRGraph.from_list(*layer(12, 8), *layer(8, 3)))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, bundle = Path(folder) / "model.nir", Path(folder) / "bundle"
        write(path)
        try:
            ps.compile(path)
        except ps.PurespikeError as error:
            print("open:", ", ".join(error.open))
        build = ps.compile(
            path,
            dt=1e-3,
            steps=20,
            reset="subtract",
            if_r="step",
            fires="at",
            spike_input=True,
            lava="none",
        )
        print(build.headline)
        build.save(bundle)
        opened = ps.open_bundle(bundle)
        print(opened.verify(lava=False).headline)
        print(ps.check(bundle / "model.nir", static=True).headline)


if __name__ == "__main__":
    main()
