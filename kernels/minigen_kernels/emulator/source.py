"""What a preprocessed CUDA source declares: its kernels, and its dynamic shared memory."""

from __future__ import annotations

import re

TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|\w+|[^\w\s]')
EXTERN_SHARED = re.compile(r"\bextern\s+(?:\w+\s+)*?__shared__\b([^;]*?)\[\s*\]\s*;", re.S)


def kernel_names(source: str) -> list[str]:
    """The names of the `extern "C"` kernels, in their order, with their namespaces before them.

    >>> kernel_names('extern "C" __global__ void __launch_bounds__(64) f(int n) {}')
    ['f']
    """
    tokens = TOKEN.findall(re.sub(r"^\s*#.*$", "", source, flags=re.M))
    names: list[str] = []
    depth, blocks = 0, []  # the depths at which an extern "C" { } that is open began
    spaces: list[tuple[int, str]] = []  # the same of namespaces, with their names
    declared_c = False  # extern "C" has been read, and its declaration is not over
    for i, token in enumerate(tokens):
        if token == '"C"' and i and tokens[i - 1] == "extern":
            if tokens[i + 1] == "{":
                blocks.append(depth)
            else:
                declared_c = True
        elif token == "namespace" and "{" in tokens[i + 1 : i + 3]:
            spaces.append((depth, tokens[i + 1] + "::" if tokens[i + 1] != "{" else ""))
        elif token == "{":
            depth += 1
            declared_c = False
        elif token == "}":
            depth -= 1
            blocks = [d for d in blocks if d < depth]
            spaces = [space for space in spaces if space[0] < depth]
        elif token == ";":
            declared_c = False
        elif token == "__global__" and (declared_c or (blocks and depth == blocks[-1] + 1)):
            name = "".join(space for _, space in spaces) + _declared_name(tokens, i + 1)
            if name not in names:
                names.append(name)
    return names


def _declared_name(tokens: list[str], i: int) -> str:
    """The name before the parameter list; attributes with parentheses of their own are passed."""
    while tokens[i + 1] != "(" or tokens[i].startswith("__") and tokens[i].endswith("__"):
        i += 1
        if tokens[i] == "(":
            i = _behind_parentheses(tokens, i)
    return tokens[i]


def _behind_parentheses(tokens: list[str], i: int) -> int:
    depth = 0
    while True:
        depth += {"(": 1, ")": -1}.get(tokens[i], 0)
        i += 1
        if depth == 0:
            return i


def dynamic_shared_names(source: str) -> list[str]:
    """The names of all `extern __shared__ T name[];`.

    >>> dynamic_shared_names("extern __shared__ __align__(16) float tile[];")
    ['tile']
    """
    return sorted({re.findall(r"\w+", found)[-1] for found in EXTERN_SHARED.findall(source)})
