"""A lesson of four steps, small enough to be stepped through in a test."""

from __future__ import annotations

from pathlib import Path

from minigen.lesson import source

TINY = '''\
# %% [raw]
# title = "Tiny"
# read_minutes = 2
# seed = 3

# %% [markdown] id="tiny.title"
# # Tiny
#
# A formula: $\\frac{\\partial y}{\\partial x} = 2x^2$.

# %% id="tiny.start"
from minigen.lesson import quick, show
x = [1]
print("begun", x, "\\u2202")

# %% id="tiny.grow" predict="How long is x now?" options=["1", "2"] answer="2"
x.append(len(x) + 1)
print("x =", x)
assert len(x) == 2

# %% [markdown] id="tiny.task"
# ## A task
#
# Double it.

# %% id="tiny.double" exercise=true time=1 uses=["tiny.start"] stub="raise NotImplementedError"
def double(v):
    """2 v."""
    # solution
    return 2 * v
    # end

# %% id="tiny.double.check" check="tiny.double" hint1="Twice." hint2="2 * v"
assert double(2) == 4

# %% id="tiny.end"
from PIL import Image
show(Image.new("L", (4, 4)), "tiny")
print(quick("full", "small"))
'''


def written(folder: Path) -> source.Lesson:
    """The lesson in a file of this folder."""
    path = folder / "07_tiny.py"
    path.write_text(TINY, encoding="utf-8")
    return source.read(path)
