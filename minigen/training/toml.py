"""Plain values to TOML text; the standard library reads TOML but does not write it."""

from __future__ import annotations

import json
import math
from typing import Any


def dumps(values: dict[str, Any]) -> str:
    """TOML of str, bool, int, float, lists, tuples of them, and nested dicts; None is left out.

    `tomllib.loads` gives the values back, tuples as lists.
    """
    lines = [f"{_key(k)} = {_value(v)}" for k, v in values.items() if _is_plain(v)]
    text = "\n".join(lines) + "\n" if lines else ""
    for name, table in values.items():
        if isinstance(table, dict):
            text += "\n" * bool(text) + _table(_key(name), table)
    return text


def _table(name: str, table: dict[str, Any]) -> str:
    lines = [f"[{name}]"] + [f"{_key(k)} = {_value(v)}" for k, v in table.items() if _is_plain(v)]
    text = "\n".join(lines) + "\n"
    for key, inner in table.items():
        if isinstance(inner, dict):
            text += "\n" + _table(f"{name}.{_key(key)}", inner)
    return text


def _is_plain(value: Any) -> bool:
    return value is not None and not isinstance(value, dict)


def _key(key: str) -> str:
    bare = key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key)
    return key if bare else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for the one control character that JSON lets through.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
        text = repr(value)
        return text if "." in text or "e" not in text else text.replace("e", ".0e")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    raise TypeError(f"TOML cannot hold a {type(value).__name__}: {value!r}")
