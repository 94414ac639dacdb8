"""Drawings without other programs: lines, boxes and words that become SVG or pixels; plots; graphs.

It knows no mathematics and no tensors; lessons and `minigen.trace` hand it numbers and names.
"""

from __future__ import annotations

from .canvas import Drawing
from .graph import graph
from .plot import plot

__all__ = ["Drawing", "graph", "plot"]
