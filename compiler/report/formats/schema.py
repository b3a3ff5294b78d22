"""The part of JSON Schema that report.schema.json uses, so that reading needs no further package.

The tests compare it with the package jsonschema. Formats (such as dates) are not checked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}


def schema_text() -> str:
    """The published schema of report.json."""
    folder = resources.files("purespike.compiler.report")
    return (folder / "report.schema.json").read_text(encoding="utf-8")


def mistakes(data: Any, schema: Mapping[str, Any] | None = None) -> Iterator[str]:
    """Where ``data`` breaks the schema, as ``path: what is wrong``."""
    root = json.loads(schema_text()) if schema is None else schema
    yield from _check(data, root, root, "report")


def _check(x: Any, rule: Mapping[str, Any], root: Mapping[str, Any], at: str) -> Iterator[str]:
    if "$ref" in rule:
        rule = root["$defs"][rule["$ref"].rpartition("/")[2]]
    if "anyOf" in rule:
        tries = [list(_check(x, r, root, at)) for r in rule["anyOf"]]
        if all(tries):
            yield min(tries, key=len)[0]
    if "type" in rule and not _is(x, rule["type"]):
        yield f"{at}: is {type(x).__name__}, must be {rule['type']}"
        return
    if "const" in rule and x != rule["const"]:
        yield f"{at}: is {x!r}, must be {rule['const']!r}"
    if "enum" in rule and x not in rule["enum"]:
        yield f"{at}: is {x!r}, must be one of {rule['enum']}"
    if isinstance(x, str) and "pattern" in rule and not re.search(rule["pattern"], x):
        yield f"{at}: is {x!r}, must match {rule['pattern']}"
    if isinstance(x, int | float) and not rule.get("minimum", x) <= x <= rule.get("maximum", x):
        yield f"{at}: {x} is out of range"
    if isinstance(x, list):
        if not rule.get("minItems", 0) <= len(x) <= rule.get("maxItems", len(x)):
            yield f"{at}: has {len(x)} entries"
        for k, item in enumerate(x if "items" in rule else ()):
            yield from _check(item, rule["items"], root, f"{at}[{k}]")
    if isinstance(x, dict):
        yield from _check_object(x, rule, root, at)
    if "if" in rule:
        holds = not any(_check(x, rule["if"], root, at))
        yield from _check(x, rule.get("then" if holds else "else", {}), root, at)


def _check_object(
    x: dict[str, Any], rule: Mapping[str, Any], root: Mapping[str, Any], at: str
) -> Iterator[str]:
    known = rule.get("properties", {})
    yield from (f"{at}: lacks {name!r}" for name in rule.get("required", ()) if name not in x)
    more = rule.get("additionalProperties", True)
    for name, value in x.items():
        if name in known:
            yield from _check(value, known[name], root, f"{at}.{name}")
        elif more is False:
            yield f"{at}: has unknown {name!r}"
        elif isinstance(more, dict):
            yield from _check(value, more, root, f"{at}.{name}")


def _is(x: Any, types: str | list[str]) -> bool:
    names = [types] if isinstance(types, str) else types
    if isinstance(x, bool):
        return "boolean" in names
    return any(isinstance(x, _TYPES[n]) for n in names)
