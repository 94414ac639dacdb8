"""show(): a picture out of a lesson, always as a PNG file; quick(): a smaller size for a quick run.

Pictures go to the folder in MINIGEN_LESSON_PICTURES, else to runs/lessons, else, where nothing can
be written, to a temporary folder. The stepper and the page builder listen (`listener`) and place
them; a script prints where they are; a notebook draws them.
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..images import png_bytes, save_gif, write_atomically

__all__ = ["Picture", "quick", "show"]

T = TypeVar("T")
listener: Callable[[Picture], None] | None = None
_drawn: dict[Path, int] = {}  # in a notebook: the cell's run in which a picture was last drawn


@dataclass(frozen=True)
class Picture:
    """A picture that was written: the PNG, and beside it an SVG or a GIF where there is one."""

    png: Path
    caption: str = ""
    svg: Path | None = None
    gif: Path | None = None

    def _repr_png_(self) -> bytes:
        return self.png.read_bytes()

    def _ipython_display_(self) -> None:
        """As a cell's value: drawn, unless show() has drawn it in this very cell."""
        if _drawn.get(self.png) != _run():
            draw(self)


def show(picture: Any, name: str, caption: str = "") -> Picture:
    """Write a picture to NAME.png and present it; returns where it is.

    picture  a Pillow image, a minigen.draw.Drawing (an SVG is written too), or a list of Pillow
             images: the frames of an animation (a GIF is written too; the PNG is the last frame).
    """
    base = _folder() / name
    svg = gif = None
    if isinstance(picture, list):
        gif = save_gif(picture, base.with_suffix(".gif"))
        image = picture[-1]
    elif hasattr(picture, "svg"):
        svg = write_atomically(base.with_suffix(".svg"), picture.svg().encode())
        image = picture.image()
    else:
        image = picture
    png = write_atomically(base.with_suffix(".png"), png_bytes(image))
    shown = Picture(png, caption, svg, gif)
    if listener is not None:
        listener(shown)
    elif "ipykernel" in sys.modules and _shell() is not None:  # imported, and it runs us
        draw(shown)
    else:
        print(f"picture: {gif or png}")
    return shown


def _folder() -> Path:
    given = os.environ.get("MINIGEN_LESSON_PICTURES")
    folder = Path(given or "runs/lessons")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        if given:
            return folder  # writing the picture names the fault
        folder = Path(tempfile.gettempdir()) / "minigen-lessons"
    return folder


def draw(picture: Picture) -> None:
    """Put a picture, moving if it can, below the notebook's cell that runs."""
    from IPython.display import display

    file = picture.gif or picture.png
    data = base64.b64encode(file.read_bytes()).decode()
    kind = f"image/{file.suffix.removeprefix('.')}"
    display({kind: data, "text/plain": picture.caption or file.name}, raw=True)
    if picture.caption:
        display({"text/markdown": f"*{picture.caption}*", "text/plain": picture.caption}, raw=True)
    _drawn[picture.png] = _run()


def _run() -> int:
    return _shell().execution_count


def _shell() -> Any:
    """The notebook's kernel that runs this code, if there is one."""
    from IPython import get_ipython

    return get_ipython()


def quick(full: T, small: T) -> T:
    """`small` in a quick run (--quick, or MINIGEN_QUICK=1), else `full`."""
    return small if "--quick" in sys.argv or os.environ.get("MINIGEN_QUICK") == "1" else full
