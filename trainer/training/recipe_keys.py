"""The keys that the tables of a recipe may have, without the classes that say so: those load torch.

A test holds these lists to the fields of the classes.
"""

from __future__ import annotations

from typing import Any

from purespike.trainer.errors import unknown_names

__all__ = ["KEYS", "recipe_keys", "require_known"]

# By class. A table [model] is of the first of three: a `module` or a `name` says which.
KEYS: dict[str, tuple[str, ...]] = {
    "ModuleConfig": ("module", "aap", "shortcut", "steps"),
    "NetworkConfig": (
        "name", "in_channels", "classes", "size", "steps", "gate", "neuron", "aap",
        "aap_own_classifier", "dsnn", "shortcut", "shortcut_at", "zero_init_residual",
        "threshold_norm", "pool", "width",
    ),
    "ModelConfig": (
        "in_channels", "classes", "steps", "size", "stem", "widths", "strides", "gate", "neuron",
        "aap", "aap_own_classifier", "shortcut", "zero_init_residual", "dsnn", "folded",
    ),
    "NeuronConfig": (
        "decay", "input_scale", "threshold", "reset", "amount", "surrogate", "detach_reset",
        "rectified", "learned_tau", "levels", "learned_threshold",
    ),
    "DataFile": ("file", "sha256"),
    "DataConfig": (
        "name", "root", "encoder", "augment", "size", "bins", "download", "held_out",
    ),
    "TrainConfig": (
        "epochs", "batch_size", "optimizer", "learning_rate", "schedule", "warmup",
        "final_learning_rate", "step_epochs", "weight_decay", "gradient_clip", "label_smoothing",
        "precision", "spike_kernels", "recompute", "channels_last", "device", "workers",
        "sync_batchnorm", "seed", "encoder", "shift", "validation", "patience", "deploy",
        "balance", "fusion", "integer_epochs",
    ),
    "BalanceSchedule": ("initial", "kind"),
}  # fmt: skip


def require_known(tables: dict[str, dict[str, Any]]) -> None:
    """Refuse a key that no table of its name has.

    Raises:
        ConfigError: As the class itself would refuse it, seconds later.
    """
    model, data, train = (tables.get(name, {}) for name in ("model", "data", "train"))
    network = "NetworkConfig" if "name" in model else "ModelConfig"
    described = "DataFile" if "file" in data else "DataConfig"
    for where, kind, table in (
        ("model", "ModuleConfig" if "module" in model else network, model),
        ("model.neuron", "NeuronConfig", model.get("neuron")),
        ("data", described, data),
        ("train", "TrainConfig", train),
        ("train.balance", "BalanceSchedule", train.get("balance")),
    ):
        # What is no table has the wrong type, and is refused as that where its class is made.
        unknown = set(table) - set(KEYS[kind]) if isinstance(table, dict) else ()
        if unknown:
            known = KEYS[kind]
            # Without one of these, the table may have been meant as either kind.
            known += tuple({"data": ("file",), "model": ("module",)}.get(where, ()))
            raise unknown_names(unknown, dict.fromkeys(known), where)


def recipe_keys() -> dict[str, list[str]]:
    """The tables in which each key of a recipe may stand."""
    tables = {
        "train": ("TrainConfig",),
        "model": ("ModelConfig", "ModuleConfig"),
        "data": ("DataConfig",),
    }
    known: dict[str, list[str]] = {}
    for table, kinds in tables.items():
        for name in dict.fromkeys(key for kind in kinds for key in KEYS[kind]):
            known.setdefault(name, []).append(table)
    return known
