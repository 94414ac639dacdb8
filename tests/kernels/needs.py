"""What a test needs of the machine, beyond Python."""

from __future__ import annotations

import shutil

import pytest

# The gates fail on a skip: there it is never missing.
GXX = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++ 12 or newer")
