"""Where compiled kernels are kept: one folder per user, for every backend."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def base_folder() -> Path:
    """Where compiled kernels are kept: 'jit' in $MINIGEN_CACHE or in the user's cache folder."""
    own = os.environ.get("MINIGEN_CACHE")
    if own:
        return Path(own) / "jit"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "minigen" / "jit"
