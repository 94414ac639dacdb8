"""Errors that are meant for the person at the keyboard: one clear line, the remedy included.

The command line prints the line and exits with `exit_code`; `--debug` shows the traceback as well.
"""

from __future__ import annotations


class MinigenError(Exception):
    """What a person can put right: one line that names the fault, the values and the remedy."""

    exit_code = 1


class DataError(MinigenError):
    """A data file, picture or folder that is missing, cut short, or not what its name says."""


class DownloadError(DataError):
    """A data set that could not be fetched from any of its mirrors."""


class OutputError(MinigenError):
    """A file that could not be written: a full disk, a read-only folder."""


class CheckpointError(MinigenError):
    """A checkpoint that is missing, cut short, or belongs to another model or configuration."""


class TrainingError(MinigenError):
    """A run that cannot go on, such as one whose loss is no longer finite."""


class UsageError(MinigenError):
    """A command, name or option that does not exist or cannot be combined with the others."""

    exit_code = 2


def did_you_mean(name: str, known: list[str]) -> str:
    """' Did you mean "mnist"?' when a known name is close to `name`, otherwise ''."""
    import difflib

    close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f' Did you mean "{close[0]}"?' if close else ""
