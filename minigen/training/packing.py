"""pack, unpack: nested state as a flat dict of arrays and a JSON tree, without pickle.

The tree is the state with every array replaced by {"$array": key}; numbers of NumPy keep their
dtype as {"$scalar": key}, tuples are {"$tuple": [...]}. Everything comes back exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

MARKS = ("$array", "$scalar", "$tuple")


def pack(state: Any, name: str = "") -> tuple[dict[str, np.ndarray], Any]:
    """(arrays by dotted key, JSON tree) of a nest of dicts, lists, tuples, arrays and numbers.

    Anything with `.data` and `.numpy()` counts as an array. TypeError for what JSON cannot hold.
    """
    arrays: dict[str, np.ndarray] = {}
    return arrays, _pack(state, name, arrays)


def _pack(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)) and type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str) or key in MARKS:
                raise TypeError(f"the state {name or 'given'} has the key {key!r}: use a string")
        return {k: _pack(v, f"{name}.{k}" if name else k, arrays) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_pack(v, f"{name}.{i}" if name else str(i), arrays) for i, v in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, np.generic):
        return {"$scalar": _keep(np.asarray(value), name, arrays)}
    to_array = getattr(value, "numpy", None)
    array = to_array() if to_array else value
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        what = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else type(value)
        raise TypeError(f"the state {name or 'given'} is {what}, which a checkpoint cannot hold")
    return {"$array": _keep(array, name, arrays)}


_PLAIN = (bool, int, float, str)  # exactly these: np.float64 is a float that must keep its dtype


def _keep(array: np.ndarray, name: str, arrays: dict[str, np.ndarray]) -> str:
    key = name
    while key in arrays:  # {"a.b": x, "a": {"b": y}}
        key += "'"
    arrays[key] = np.asarray(array, order="C")
    return key


def unpack(arrays: dict[str, np.ndarray], tree: Any) -> Any:
    """The state that was packed. KeyError when an array of the tree is missing."""
    if isinstance(tree, list):
        return [unpack(arrays, item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) == 1 and (mark := next(iter(tree))) in MARKS:
        inner = tree[mark]
        if mark == "$tuple":
            return tuple(unpack(arrays, item) for item in inner)
        return arrays[inner] if mark == "$array" else arrays[inner][()]
    return {key: unpack(arrays, value) for key, value in tree.items()}
