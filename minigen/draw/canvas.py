"""Drawing: marks on a sheet, in points from the top left; as SVG, or as pixels through Pillow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["COLOURS", "Drawing"]

Point = tuple[float, float]

# Distinguishable by people who do not see red and green apart (Okabe and Ito). In SVG each is a CSS
# variable with this value as fallback, so that a page can show another shade on a dark ground.
COLOURS = {
    "ink": "#1f2328", "soft": "#8a929c", "faint": "#d8dde3", "paper": "#ffffff",
    "blue": "#0072b2", "orange": "#d55e00", "green": "#009e73", "pink": "#cc79a7",
    "yellow": "#e69f00", "sky": "#56b4e9", "wash": "#eef4fa", "glow": "#fdf1e4",
}  # fmt: skip
# Pillow's own font has no Greek and no signs; SVG keeps the real ones.
SPELT = str.maketrans({
    "∂": "d", "σ": "sigma", "μ": "mu", "ε": "eps", "−": "-", "–": "-", "×": "x", "·": ".",
    "²": "^2", "→": "->", "λ": "lambda", "Σ": "sum", "β": "beta", "½": "1/2", "√": "sqrt",
    "∇": "grad", "≤": "<=", "≥": ">=", "θ": "theta", "…": "...", "ŷ": "y^", "‖": "|",
})  # fmt: skip


@dataclass
class Drawing:
    """A sheet of width × height points with marks on it, drawn in the order they were added."""

    width: float
    height: float
    title: str = ""
    marks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def line(self, points: Sequence[Point], colour: str = "ink", width: float = 1.5,
             dashes: bool = False) -> None:
        """A line through these points."""
        self.marks.append(("line", dict(points=points, colour=colour, width=width, dashes=dashes)))

    def arrow(self, a: Point, b: Point, colour: str = "soft", width: float = 1.3) -> None:
        """A line from a to b with a head at b."""
        length = max(((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2) ** 0.5, 1e-9)
        u = ((b[0] - a[0]) / length, (b[1] - a[1]) / length)
        back = (b[0] - 7 * u[0], b[1] - 7 * u[1])
        self.line([a, back], colour, width)
        self.polygon([b, (back[0] - 3.2 * u[1], back[1] + 3.2 * u[0]),
                      (back[0] + 3.2 * u[1], back[1] - 3.2 * u[0])], colour)

    def polygon(self, points: Sequence[Point], colour: str = "ink") -> None:
        """A filled polygon."""
        self.marks.append(("polygon", dict(points=points, colour=colour)))

    def dot(self, at: Point, colour: str = "blue", radius: float = 2.5) -> None:
        """A filled circle."""
        self.marks.append(("dot", dict(at=at, colour=colour, radius=radius)))

    def box(self, at: Point, size: Point, fill: str | None = "wash", edge: str | None = "soft",
            radius: float = 5) -> None:
        """A rectangle with its top left corner at `at`; fill a name of COLOURS or "#rrggbb"."""
        self.marks.append(("box", dict(at=at, size=size, fill=fill, edge=edge, radius=radius)))

    def text(self, at: Point, text: str, colour: str = "ink", size: float = 12,
             anchor: str = "middle", bold: bool = False) -> None:
        """Words, their middle height at `at`; anchor: start, middle or end."""
        self.marks.append(("text", dict(at=at, text=str(text), colour=colour, size=size,
                                        anchor=anchor, bold=bold)))

    # ---- SVG

    def svg(self) -> str:
        """The sheet as an SVG document."""
        w, h = f"{self.width:g}", f"{self.height:g}"
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" '
            f'height="{h}" role="img" font-family="system-ui, sans-serif">'
        )
        title = f"<title>{escape(self.title)}</title>" if self.title else ""
        return "\n".join([head + title, *(_SVG[kind](m) for kind, m in self.marks), "</svg>\n"])

    # ---- pixels

    def image(self, scale: int = 2) -> Image.Image:
        """The sheet as a Pillow picture, `scale` pixels to the point."""
        from PIL import Image, ImageDraw

        fine = 2 * scale  # drawn at twice the size and reduced: smooth edges
        size = (round(self.width * fine), round(self.height * fine))
        picture = Image.new("RGB", size, COLOURS["paper"])
        pen = ImageDraw.Draw(picture)
        for kind, mark in self.marks:
            _PIXELS[kind](pen, mark, fine)
        return picture.resize((size[0] // 2, size[1] // 2), Image.Resampling.LANCZOS)


def _css(colour: str | None) -> str:
    if colour is None:
        return "none"
    return colour if colour.startswith("#") else f"var(--{colour}, {COLOURS[colour]})"


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)


def _svg_line(m: dict[str, Any]) -> str:
    dashes = ";stroke-dasharray:4 3" if m["dashes"] else ""
    style = f"fill:none;stroke:{_css(m['colour'])};stroke-width:{m['width']}{dashes}"
    return f'<polyline points="{_points(m["points"])}" style="{style}"/>'


def _svg_polygon(m: dict[str, Any]) -> str:
    return f'<polygon points="{_points(m["points"])}" style="fill:{_css(m["colour"])}"/>'


def _svg_dot(m: dict[str, Any]) -> str:
    x, y = m["at"]
    style = f"fill:{_css(m['colour'])}"
    return f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{m["radius"]}" style="{style}"/>'


def _svg_box(m: dict[str, Any]) -> str:
    (x, y), (w, h) = m["at"], m["size"]
    style = f"fill:{_css(m['fill'])};stroke:{_css(m['edge'])}"
    return (f'<rect x="{x:.2f}" y="{y:.2f}" width="{w:.2f}" height="{h:.2f}" '
            f'rx="{m["radius"]}" style="{style}"/>')


def _svg_text(m: dict[str, Any]) -> str:
    x, y = m["at"]
    bold = ' font-weight="600"' if m["bold"] else ""
    return (f'<text x="{x:.2f}" y="{y:.2f}" dy="0.35em" font-size="{m["size"]}" '
            f'text-anchor="{m["anchor"]}" style="fill:{_css(m["colour"])}"{bold}>'
            f"{escape(m['text'])}</text>")


def _hex(colour: str | None) -> str | None:
    return None if colour is None else COLOURS.get(colour, colour)


def _scaled(points: Sequence[Point], k: float) -> list[Point]:
    return [(float(x) * k, float(y) * k) for x, y in points]


def _draw_line(pen: Any, m: dict[str, Any], k: int) -> None:
    points, width = _scaled(m["points"], k), max(1, round(m["width"] * k))
    if not m["dashes"]:
        pen.line(points, fill=_hex(m["colour"]), width=width, joint="curve")
        return
    for a, b in zip(points, points[1:], strict=False):
        length = ((b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2) ** 0.5
        for i in range(int(length / (7 * k)) + 1):
            s, e = i * 7 * k / max(length, 1e-9), min((i * 7 + 4) * k / max(length, 1e-9), 1)
            ends = [(a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])) for t in (s, e)]
            pen.line(ends, fill=_hex(m["colour"]), width=width)


def _draw_polygon(pen: Any, m: dict[str, Any], k: int) -> None:
    pen.polygon(_scaled(m["points"], k), fill=_hex(m["colour"]))


def _draw_dot(pen: Any, m: dict[str, Any], k: int) -> None:
    (x, y), r = m["at"], m["radius"] * k
    pen.ellipse((x * k - r, y * k - r, x * k + r, y * k + r), fill=_hex(m["colour"]))


def _draw_box(pen: Any, m: dict[str, Any], k: int) -> None:
    (x, y), (w, h) = m["at"], m["size"]
    pen.rounded_rectangle((x * k, y * k, (x + w) * k, (y + h) * k), radius=m["radius"] * k,
                          fill=_hex(m["fill"]), outline=_hex(m["edge"]), width=k)


def _draw_text(pen: Any, m: dict[str, Any], k: int) -> None:
    from PIL import ImageFont

    text = m["text"].translate(SPELT).encode("latin-1", "replace").decode("latin-1")
    anchor = {"start": "lm", "middle": "mm", "end": "rm"}[m["anchor"]]
    font = ImageFont.load_default(m["size"] * k)
    x, y = m["at"]
    pen.text((x * k, y * k), text, font=font, anchor=anchor, fill=_hex(m["colour"]),
             stroke_width=k // 3 if m["bold"] else 0, stroke_fill=_hex(m["colour"]))


_SVG = {"line": _svg_line, "polygon": _svg_polygon, "dot": _svg_dot, "box": _svg_box,
        "text": _svg_text}  # fmt: skip
_PIXELS = {"line": _draw_line, "polygon": _draw_polygon, "dot": _draw_dot, "box": _draw_box,
           "text": _draw_text}  # fmt: skip
