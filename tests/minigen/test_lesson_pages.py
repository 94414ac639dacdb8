"""Pages and drawings: what is computed is what is shown, and nothing comes from elsewhere."""

from __future__ import annotations

import importlib
import os
import re
import sys
import xml.dom.minidom
from pathlib import Path

import numpy as np
import pytest

from minigen.draw import Drawing, graph, plot
from minigen.lesson import source

for library in ("markdown_it", "pygments", "jinja2", "latex2mathml"):
    pytest.importorskip(library)

from minigen.lesson import build, notebook  # noqa: E402

TINY = """\
# %% [raw]
# title = "Tiny <&>"

# %% [markdown] id="tiny.title"
# # Tiny
#
# ## A part & more
#
# With $x^2$, and `code $x$`.

# %% id="tiny.code" predict="What is $1+1$?" answer="2"
from minigen.draw import plot
from minigen.lesson import check, show
print("1 < 2 &", 1 + 1)
wide = "a line of code that is too wide for a phone, so that a key must scroll it"
show(plot({"a": [1, 2, 3]}), "tiny-plot", "a line")

# %% id="tiny.double" exercise=true uses=[]
def double(v):
    # solution
    return 2 * v
    # end

# %% id="tiny.double.check" check="tiny.double" hint1="First." hint2="Second."
assert double(2) == 4
"""


def lesson(tmp_path, text: str = TINY) -> source.Lesson:
    path = tmp_path / "01_tiny.py"
    path.write_text(text, encoding="utf-8")
    return source.read(path)


def test_a_page_has_everything_and_asks_for_nothing(tmp_path):
    tiny, said = lesson(tmp_path), []
    pages = build.site([tiny], tmp_path / "site", quick=True, say=said.append)
    text = pages[1].read_text(encoding="utf-8")
    assert [p.name for p in pages] == ["index.html", "01_tiny.html"]
    assert "1 &lt; 2 &amp; 2" in text and "<math" in text and "code $x$" in text
    assert text.count("<details") == 5  # contents, what comes out, two hints, the solution
    assert "1 &lt; 2" in text.split("What comes out")[1].split("</details>")[0]
    assert "raise NotImplementedError" not in text.split("Solution")[1].split("</details>")[0]
    assert 'id="a-part-more"' in text and 'href="#a-part-more"' in text
    assert re.search(r'<span class="kept"><math.*</math>,</span> and', text)
    assert "<svg" in text and "Tiny &lt;&amp;&gt;" in text
    assert re.search(r"in \d+ s \(\d+ s of computing\) with minigen", text)
    loads = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert all(":" not in target or target.startswith("data:") for target in loads), loads
    assert (tmp_path / "site" / "pictures" / "tiny-plot.png").exists()


def test_a_function_in_letters_keeps_away_from_the_next_letter():
    from minigen.lesson.formulas import mathml

    assert "<mi>log</mi><mspace" in mathml(r"\log p(x)", True)
    assert "<mi>log</mi><mspace" in mathml(r"\log \sigma^2", False)
    for tex in (r"\tanh(x)", r"\log(1 + x)", r"a b", r"\log \left(\frac{a}{b}\right)"):
        assert "<mspace" not in mathml(tex, False), tex


def test_a_lesson_that_fails_builds_no_page(tmp_path):
    broken = lesson(tmp_path, TINY.replace("1 + 1)", "1 / 0)"))
    with pytest.raises(source.LessonError, match="tiny.code.*\n*.*"):
        build.site([broken], tmp_path / "site", say=lambda text: None)
    assert not (tmp_path / "site" / "01_tiny.html").exists()


# ---- notebooks

PICTURES = """
# %% id="tiny.pictures" minutes=0.1
from PIL import Image
frames = [Image.new("L", (8, 8), k) for k in (0, 255)]
moving = show(frames, "tiny-frames", "two frames")
show(Image.new("L", (8, 8)), "tiny-square", "a square")
print("after the pictures")

# %% id="tiny.again"
moving
"""


def test_a_notebook_is_run_and_has_every_picture_once(tmp_path):
    pytest.importorskip("jupytext")
    pytest.importorskip("ipykernel")
    nbformat = pytest.importorskip("nbformat")
    path = notebook.notebook(lesson(tmp_path, TINY + PICTURES), tmp_path / "site", quick=True)
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4, 5]
    drawn = [[kind for out in cell.outputs for kind in out.get("data", {})
              if kind.startswith("image/")] for cell in code]
    assert drawn == [["image/png"], [], [], ["image/gif", "image/png"], ["image/gif"]]
    said = ["".join(out.get("text", "") for out in cell.outputs) for cell in code]
    assert "1 < 2 & 2" in said[0] and "after the pictures" in said[3]
    text = "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")
    assert "Before you look:** What is $1+1$?" in text
    assert "raise NotImplementedError" in text and text.count("<summary>Hint") == 2
    assert [cell.id for cell in code if cell.metadata.get("jupyter")] == ["tiny-double-cell"]
    captions = [out["data"]["text/markdown"] for cell in code for out in cell.outputs
                if "text/markdown" in out.get("data", {})]
    assert captions == ["*a line*", "*two frames*", "*a square*", "*two frames*"]
    assert "minutes to read" in book.cells[0].source and "title =" not in book.cells[0].source
    assert "Write yours in its place" in text
    assert not any("# solution" in cell.source for cell in code)


def test_a_notebook_that_fails_names_its_lesson(tmp_path, monkeypatch):
    pytest.importorskip("jupytext")
    nbclient = pytest.importorskip("nbclient")

    def fails(client):
        raise nbclient.exceptions.CellExecutionError("1 / 0", "ZeroDivisionError", "by zero")

    monkeypatch.setattr(nbclient.NotebookClient, "execute", fails)
    before = dict(os.environ)
    with pytest.raises(source.LessonError, match="01_tiny.py, as a notebook: 1 / 0"):
        notebook.notebook(lesson(tmp_path), tmp_path / "site")
    assert not list((tmp_path / "site").glob("*.ipynb")) and dict(os.environ) == before


# ---- the gate's browser

CI = Path(__file__).resolve().parents[2] / ".ci"
TINY_PAGE = "01_tiny.html"
FAULTS = [  # what the gate says of it, and how to cause it: a file, what stands there, what is put
    ("cannot be seen", "style.css", "outline: 2px solid", "outline: 0 solid"),
    ("pixels wide", TINY_PAGE, "<h1>", '<h1 style="width: 30em">'),
    ("letters too small", "style.css", "min-width: var(--least)", "min-width: 0"),
    ("light: .*rgb", "style.css", "--soft: #667080", "--soft: #a7afbb"),
    ("dark: .*rgb", "style.css", "--soft: #98a3b0", "--soft: #303840"),
    ("the button makes", "page.js", '? "light" : "dark"', '? "light" : "light"'),
    ("no skip link", TINY_PAGE, 'class="skip"', 'class="top"'),
    ("leads nowhere", TINY_PAGE, '<main id="start" tabindex="-1">', "<main>"),
    ("but Tab", "page.js", '"use strict";', """"use strict";
        addEventListener("keydown", e => {
          if (e.key === "Tab" && e.target.tagName === "SUMMARY") e.preventDefault(); });"""),
    ("Enter does nothing", TINY_PAGE, "<summary>Hint 1",
     '<summary onkeydown="event.preventDefault()">Hint 1'),
    ("has no name", TINY_PAGE, 'aria-label="light or dark">◐', ">"),
    ("no key scrolls", "page.js", "box.tabIndex = 0", "box.tabIndex = -1"),
    ("asks for http", TINY_PAGE, "</main>", '<img src="http://localhost:9/x.png" alt="x"></main>'),
    ("console", "page.js", '"use strict";', '"use strict"; console.error("oh");'),
]


@pytest.fixture(scope="module")
def reading():
    sys.path.insert(0, str(CI))
    try:
        module = importlib.import_module("reading")
    finally:
        sys.path.remove(str(CI))
    if module.find() is None:
        pytest.skip("needs chromium")
    return module


def test_a_page_on_a_phone_by_keyboard_in_light_and_dark(tmp_path, reading):
    pages = build.site([lesson(tmp_path)], tmp_path / "site", quick=True, say=lambda text: None)
    assert reading.main(pages) == 0


@pytest.mark.browser
def test_the_gate_notices_each_fault_of_a_page(tmp_path, reading):
    build.site([lesson(tmp_path)], tmp_path / "site", quick=True, say=lambda text: None)
    page = tmp_path / "site" / TINY_PAGE
    with reading.Browser(reading.find()) as browser:
        for words, name, old, new in FAULTS:
            file = tmp_path / "site" / name
            good = file.read_text(encoding="utf-8")
            assert old in good, words
            file.write_text(good.replace(old, new), encoding="utf-8")
            with pytest.raises(AssertionError, match=words):
                reading.read(browser, page)
                print(f"not noticed: {words}")
            file.write_text(good, encoding="utf-8")


# ---- drawings


def test_a_drawing_is_the_same_marks_as_svg_and_as_pixels():
    sheet = Drawing(60, 40, "a < b")
    sheet.box((10, 10), (20, 20), "blue", None, 0)
    sheet.text((45, 20), "∂<")
    sheet.line([(0, 0), (60, 40)], dashes=True)
    sheet.arrow((0, 40), (60, 0))
    xml.dom.minidom.parseString(sheet.svg())
    assert "a &lt; b" in sheet.svg() and "∂&lt;" in sheet.svg()
    pixels = np.asarray(sheet.image(2))
    assert pixels.shape == (80, 120, 3)
    assert tuple(pixels[52, 52]) == (0, 114, 178)  # inside the box, off the lines


@pytest.mark.parametrize("log", [False, True])
def test_a_plot_of_anything_finite(log):
    sheet = plot({"a": [1, 10, 100], "b": ([0, 1], [5, 5])}, {"c": ([0.5], [2.0])}, log=log)
    xml.dom.minidom.parseString(sheet.svg())
    for kind, mark in sheet.marks:
        points = mark.get("points") or [mark["at"]]
        inside = [-1 <= x <= sheet.width + 1 and -1 <= y <= sheet.height + 1 for x, y in points]
        assert all(inside), kind


def test_a_graph_is_drawn_from_left_to_right():
    nodes = {"x": ["x"], "w": ["w"], "y": ["y", "a * b"], "z": ["z"]}
    edges = [("x", "y"), ("w", "y"), ("y", "z"), ("x", "z"), ("x", "z")]
    sheet = graph(nodes, edges, title="t", marked=["z"])
    boxes = [mark["at"][0] for kind, mark in sheet.marks if kind == "box"]
    at = dict(zip(nodes, boxes, strict=True))
    assert at["x"] < at["y"] < at["z"] and at["w"] < at["y"]
    with pytest.raises(ValueError, match="leads back"):
        graph(nodes, [("x", "y"), ("y", "x")])
