"""What .ci/lessons asks of lessons, of exercises and of pages; each part raises at its first fault.

    python .ci/check_lessons.py exercises | scripts FOLDER | pages SITE
"""

from __future__ import annotations

import ast
import html
import inspect
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import reading

ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT / "kernels", ROOT):
    sys.path.insert(0, str(folder))

from minigen.lesson import build, check, course, exercises, judge, planted, source, trial  # noqa: E402
from minigen.lesson.session import package_environment  # noqa: E402

# All bounds are on time of the processor, all cores together: a busy machine fails no lesson. Where
# even that time is stretched, on a slow processor or one that is shared with other guests, a fixed
# piece of work says by how much.
QUICK_SECONDS = 60.0
ORDINARY = 0.1  # seconds that this work takes on an ordinary core


def slowness() -> float:
    """How many times longer than ordinary this processor takes now; at least 1."""
    begin, x = time.process_time(), 0
    for i in range(1_000_000):
        x = (x + i * i) % 1_000_003
    return max(1.0, (time.process_time() - begin) / ORDINARY)


# ---- exercises


def all_exercises() -> None:
    """Shape of every lesson; stubs fail; solutions pass."""
    seen: set[str] = set()
    for lesson in course.lessons():
        ids = [cell.id for cell in lesson.cells[1:]]
        assert all(ids) and len(set(ids)) == len(ids), f"{lesson.name}: a cell without its own id"
        assert not seen & set(ids), f"{lesson.name}: ids of an earlier lesson"
        seen |= set(ids)
        wanted = [c.id for c in lesson.cells if c.attributes.get("exercise")]
        assert len(wanted) >= 2 and list(lesson.exercises) == wanted, lesson.name
        if lesson.number >= 3:
            assert any("bug" in c.attributes for c in lesson.cells), f"{lesson.name}: no detective"
        earlier_only(lesson)
        for id, (cell, checking) in lesson.exercises.items():
            assert len(checking.hints) >= 2, f"{id}: fewer than two hints"
            for hint in checking.hints:
                if "$" in hint:
                    continue  # a formula is meant to look different on a page
                page = html.unescape(re.sub("<[^>]*>", "", build.markdown(hint, inline=True)))
                assert page == hint.replace("`", ""), f"{id}: a page shows this hint as: {page}"
            stub = verdict(lesson, id, exercises.stub_file(lesson, id))
            solution = verdict(lesson, id, solution_of(cell))
            print(f"{id:<20} stub: {stub[0]:<8} solution: {solution[0]}", flush=True)
            assert stub[0] != "passed", f"{id}: its stub passes"
            assert solution[0] == "passed", f"{id}: its solution fails: {solution[1]}"


def earlier_only(lesson: source.Lesson) -> None:
    """`needs` names earlier lessons, and no lesson's code imports another's."""
    names = {other.path.stem for other in course.lessons()}
    for need in lesson.header.needs:
        assert need in names and int(need[:2]) < lesson.number, f"{lesson.name} needs {need}"
    for node in ast.walk(ast.parse(lesson.path.read_text(encoding="utf-8"))):
        module = getattr(node, "module", None) or ""
        found = [module, *(a.name for a in getattr(node, "names", []) if hasattr(a, "asname"))]
        assert not any(n in names or n.startswith(("lessons", "minigen_lessons")) for n in found)


def solution_of(cell: source.Cell) -> str:
    if "bug" not in cell.attributes:
        return source.solution_of(cell)
    module = planted.module_of(cell.attributes["bug"])
    return inspect.getsource(getattr(module, cell.attributes["of"]))


def verdict(lesson: source.Lesson, id: str, text: str) -> tuple[str, str]:
    """As `minigen lesson check` has it, in a fork of this process, which has imported all."""
    check.law("warm", lambda x: None, x=check.draw.integers(0, 1))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.environ["MINIGEN_QUICK"] = "1"
        os.chdir(tempfile.mkdtemp())
        namespace = judge.given(lesson, lesson.exercises[id][0])
        found = judge.judged(lesson, id, text, "answer.py", namespace, trial.MEGABYTES)
        os.write(writing, json.dumps(found).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        kind, message = json.loads(pipe.read())
    os.waitpid(child, 0)
    return kind, message


# ---- scripts


def scripts(scratch: Path) -> None:
    """Every lesson as a plain script, quick, with nothing to read from and in an empty folder."""
    for lesson in course.lessons():
        place = scratch / lesson.name
        place.mkdir(parents=True)
        slow = slowness()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run(
            [sys.executable, str(lesson.path), "--quick"], cwd=place, env=package_environment(),
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        assert run.returncode == 0, f"{lesson.name}:\n{run.stdout[-2000:]}{run.stderr[-4000:]}"
        pictures = list(place.rglob("*.png"))
        assert pictures, f"{lesson.name} shows nothing"
        slow = max(slow, slowness())
        print(f"{lesson.name:<12} {spent:6.1f} s of CPU, {slow:.1f} times slower than ordinary; "
              f"{len(pictures)} pictures", flush=True)
        assert spent <= slow * QUICK_SECONDS, f"{lesson.name}: {spent:.0f} s, quickly"


# ---- pages


class Page(HTMLParser):
    """What a page links to, loads, and offers as places to link to."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()
        self.unnamed = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {k: v or "" for k, v in attrs}
        self.places |= {values["id"]} if "id" in values else set()
        if tag == "a":
            self.links.append(values.get("href", ""))
        elif tag in ("img", "script", "link", "iframe", "source", "use", "image"):
            self.loads += [values[k] for k in ("src", "href", "xlink:href") if k in values]
        self.unnamed += tag == "img" and not values.get("alt")
        if "style" in values:
            self.loads += re.findall(r"url\(([^)]*)\)", values["style"])


def pages(site: Path) -> None:
    """No dead link, no request to elsewhere, a stamp on every page, and a browser that agrees."""
    found = {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.glob("*.html"))}
    assert len(found) == len(course.lessons()) + 1, sorted(found)
    for path, page in found.items():
        assert not page.unnamed, f"{path.name}: a picture without a description"
        assert "class=\"katex-error\"" not in path.read_text() and "FORMULA" not in path.read_text()
        for target in [*page.links, *page.loads]:
            parts = urlsplit(target.strip("'\""))
            if parts.scheme == "data":
                continue
            assert not parts.scheme and not parts.netloc, f"{path.name} asks for {target}"
            file = (path.parent / unquote(parts.path)) if parts.path else path
            assert file.exists(), f"{path.name}: dead link {target}"
            if parts.fragment:
                assert parts.fragment in found[file].places, f"{path.name}: dead link {target}"
    slow = max(slowness() for _ in range(3))
    for lesson in course.lessons():
        text = (site / f"{lesson.path.stem}.html").read_text(encoding="utf-8")
        stamp = re.search(r"in \d+ s \((\d+) s of computing\) with minigen", text)
        assert stamp, f"{lesson.name}: its page does not say when and in what time it ran"
        stated = 60 * lesson.header.cpu_minutes
        print(f"{lesson.name:<12} {stamp[1]} s of CPU, {stated:.0f} stated", flush=True)
        assert int(stamp[1]) <= 2 * stated * slow, f"{lesson.name} took {stamp[1]} s of CPU"
        # Nor may it frighten anybody off; a machine may be several times faster than ordinary.
        assert stated <= max(12, 8 * int(stamp[1])), f"{lesson.name} states {stated:.0f} s"
    style = (site / "style.css").read_text()
    assert "url(" not in style and "@import" not in style
    print(f"{len(found)} pages, no dead link, nothing from elsewhere", flush=True)
    reading.main(list(found))


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    {"exercises": all_exercises, "scripts": scripts, "pages": pages}[what](*map(Path, rest))
