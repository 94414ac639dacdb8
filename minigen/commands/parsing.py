"""Command lines to dataclasses, by tyro, with errors of one line and a suggestion."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
from typing import Any, TypeVar

from ..errors import UsageError, did_you_mean

T = TypeVar("T")


def parse(kind: type[T], argv: list[str], command: str, default: T | None = None) -> T:
    """The options in argv as a `kind`, whose docstring and field comments are the help.

    UsageError for an unknown option or a value of the wrong kind; -h prints the help and exits.
    """
    import tyro

    said = io.StringIO()
    wants_help = "-h" in argv or "--help" in argv
    keep_stderr = contextlib.nullcontext() if wants_help else contextlib.redirect_stderr(said)
    try:
        with keep_stderr:
            parsed: Any = tyro.cli(
                kind,
                prog=f"minigen {command}",
                args=argv,
                default=default,
                return_unknown_args=True,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
            )
            made, unknown = parsed
    except SystemExit as error:
        if error.code in (0, None):
            raise
        raise UsageError(f"{_first_words(said.getvalue())}; minigen {command} -h") from None
    if unknown:
        flags = [f"--{name.replace('_', '-')}" for name in _names(kind)]
        word = unknown[0].partition("=")[0]
        what = "option" if word.startswith("-") else "argument"
        hint = did_you_mean(word, flags) if what == "option" else ""
        raise UsageError(f'unknown {what} "{word}".{hint} minigen {command} -h lists them')
    return made


def given(kind: type, argv: list[str]) -> set[str]:
    """The fields of a dataclass whose options are written in argv."""
    flags = [word.partition("=")[0] for word in argv if word.startswith("--")]
    words = {flag.removeprefix("--").replace("-", "_") for flag in flags}
    return {name for name in _names(kind) if name in words or f"no_{name}" in words}


def _names(kind: Any) -> list[str]:
    names = []
    for field in dataclasses.fields(kind):
        inner = field.default if dataclasses.is_dataclass(field.default) else None
        names += _names(type(inner)) if inner is not None else [field.name]
    return names


def _first_words(box: str) -> str:
    """The message in one of tyro's boxes, on one line."""
    lines = [line for line in box.splitlines() if not re.match(r"\s*[╭╰]", line)]
    blocks: list[list[str]] = [[]]
    for line in lines:
        if re.fullmatch(r"[\s│]*[─-]+[\s│]*", line):
            blocks.append([])
        else:
            blocks[-1].append(line.strip(" │"))
    # A box without frame has its title as the first block.
    first = 0 if len(lines) < len(box.splitlines()) or len(blocks) == 1 else 1
    return " ".join(" ".join(blocks[first]).split()) or "this command line cannot be read"
