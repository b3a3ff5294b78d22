"""Examples of every command, as its help shows them; a test runs them beside such files."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "purespike": (
        "purespike demo",
        "purespike compile my_net:make --data test.npz --out bundle",
        "purespike COMMAND --help",
    ),
    "demo": ("purespike demo --out runs/demo",),
    "new": ("purespike new my_project",),
    "train": (
        "purespike train digits --epochs 2 --out runs/train",
        "purespike train my_net:make --data train.npz --auxiliary aap=layer1",
        "purespike train --resume --out runs/train",
    ),
    "plot": ("purespike plot runs/train --out plots",),
    "scan": ("purespike scan digits --widths 0.5,1,2 --random",),
    "compile": (
        "purespike compile runs/train --out bundle",
        "purespike compile model.nir --dt 1e-3 --reset zero --if-r step --fires above "
        "--spike-input --steps 4 --out bundle",
        "purespike compile my_net:make --data test.npz --bits 6 --json",
    ),
    "check": (
        "purespike check bundle",
        "purespike check bundle/model.nir --static",
        "purespike check bundle --policy leaky --waivers waivers.toml --json",
    ),
    "simulate": (
        "purespike simulate bundle --samples 2",
        "purespike simulate bundle --data test.npz --on onnx",
    ),
    "verify": ("purespike verify bundle", "purespike verify bundle --no-lava --json"),
    "replay": ("purespike replay bundle --samples 2",),
    "map": ("purespike map bundle --chip loihi2 --chips 1 --json",),
    "export": ("purespike export bundle --to c --out runs/c",),
    "rule": ("purespike rule PS005",),
    "targets": ("purespike targets", "purespike targets --to lava --json"),
    "explain": (
        "purespike explain bundle blocks.0.conv1",
        "purespike explain bundle/report.json blocks.0.gate --json",
    ),
    "report": (
        "purespike report bundle",
        "purespike report bundle --format sarif --out report.sarif",
    ),
    "diff": ("purespike diff old_bundle bundle --fail-on accuracy=0.5 --fail-on findings",),
    "doctor": ("purespike doctor",),
    "policy": ("purespike policy show strict",),
    "show": ("purespike policy show", "purespike policy show leaky --json"),
}
