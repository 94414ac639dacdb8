"""Is every figure that a lesson states in words asserted by the lesson's code?

    python .ci/figures.py      names every figure that is not; status 1 if there is one

A figure is a number in digits, a number word above ten (twenty-five, half a million), or "six
times". It is asserted when the same value stands in an `assert` near by: in one of the two code
cells before or after the prose. The first and the last prose of a lesson speak of the whole: of any
of its cells. A number that answers a prediction is asserted in the cell that asks.

Questions and the captions, titles and axes of pictures are held as prose is, by their own cell too.
A hint is held by the solution that it leads to and by what judges it: solutions pass their checks.
What a question offers to choose from is no figure of its own; the answer is.

No figures are headings, code, formulas (but for the number that one ends in), and 0 and 1: these
stand in so many assertions that to find them there proves nothing. What is no result of a run is
listed in figures.toml, with its reason. A phrase there that the prose no longer has is an error;
and a figure that is "set in" a cell must stand in that cell's code.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
for folder in (ROOT / "kernels", ROOT):
    sys.path.insert(0, str(folder))

from minigen.lesson import course, planted, source  # noqa: E402

NEAR = 2  # code cells before and after
ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen").split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
WORDS = {w: n for n, w in enumerate(ONES)} | {w: 10 * n for n, w in enumerate(TENS, 2)}
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6}
WORD = "|".join(["a", "half", *WORDS, *SCALES])
FIGURE = re.compile(
    r"(?<![\w.])(?P<digits>-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e-?\d+)?)(?!\w)"
    rf"|\b(?P<words>(?:{WORD})(?:[ -](?:{WORD}))*)\b(?P<times> times\b)?", re.IGNORECASE)
ENDING = re.compile(r"(?:.*(?:=|\\approx))?\s*(-?\d+(?:\.\d+)?)(?:\^\{?(-?\d+)\}?)?", re.DOTALL)


def prose(text: str) -> str:
    """What a text says, without headings, code and the numbers of a list, as one line."""
    text = re.sub(r"^(#| {4}).*$|^\d+\. ", "", text, flags=re.MULTILINE)
    text = re.sub(r"\$\$.*?\$\$|`[^`]*`", " | ", text, flags=re.DOTALL)

    def ending(formula: re.Match[str]) -> str:
        found = ENDING.fullmatch(formula[1].strip())
        if not found:
            return " | "
        return f"{float(found[1]) ** int(found[2]):.10g}" if found[2] else found[1]

    text = re.sub(r"\$([^$]+)\$", ending, text)
    return re.sub(r"\s+", " ", re.sub(r"[*_]", "", text))


def figures(text: str) -> Iterator[tuple[int, str]]:
    """(place, figure) for each figure in a text."""
    for m in FIGURE.finditer(text):
        if m["digits"]:
            if value(m[0]) not in (0, 1):
                yield m.start(), m[0]
        elif value(m["words"]) > 10 or (m["times"] and value(m["words"]) > 1):
            yield m.start(), m["words"]


def value(figure: str) -> float:
    """What a figure in digits or in words stands for."""
    if not figure[-1].isalpha():
        return float(figure.replace(",", ""))
    found = 0.0
    for word in re.split("[ -]", figure.lower()):
        if word in SCALES:
            found = (found or 1) * SCALES[word]
        elif word in ("a", "half"):  # half a million
            found = found or {"a": 1.0, "half": 0.5}[word]
        else:
            found += WORDS[word]
    return found


def same(figure: str, numbers: Iterable[float]) -> bool:
    """Whether one of the numbers is this figure, at as many digits as it has."""
    wanted = value(figure)
    digits = len(figure.partition(".")[2]) if figure[-1].isdigit() and "e" not in figure else 0
    return any(n == wanted or (digits and round(n, digits) == wanted) for n in numbers)


def numbers(tree: ast.AST) -> set[float]:
    """The numbers that an expression is written with, and those that they alone make up (2**30)."""
    found: set[float] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "quick":
            node.args = node.args[:1]  # prose states what a full run gives
        if isinstance(node, (ast.Constant, ast.BinOp, ast.UnaryOp)):
            try:
                number = eval(compile(ast.Expression(node), "", "eval"), {"__builtins__": {}})
            except Exception:  # it has a name in it
                continue
            if isinstance(number, (int, float)):
                found.add(number)
    return found


def asserted(cell: source.Cell) -> set[float]:
    """The numbers in a cell's assertions."""
    nodes = ast.walk(ast.parse(cell.source)) if cell.kind == "code" else ()
    return {n for node in nodes if isinstance(node, ast.Assert) for n in numbers(node.test)}


def faults(lesson: source.Lesson, everywhere: dict[str, str], plain: dict[str, str]) -> list[str]:
    """The figures of a lesson that no assertion holds, and reasons that hold nothing."""
    found, used = [], set()
    for id, text, held in stated(lesson):
        reasons = {phrase: [m.span() for m in re.finditer(re.escape(phrase), text)]
                   for phrase in plain}
        usual = [m.span() for pattern in everywhere for m in re.finditer(pattern, text)]
        for at, figure in figures(text):
            phrase = next((p for p, spans in reasons.items() if _within(at, spans)), None)
            where = re.fullmatch(r"set in (\S+)", plain[phrase]) if phrase else None
            used.add(phrase)
            if where and not same(figure, numbers(ast.parse(lesson.cell(where[1]).source))):
                found.append(f"{id}: {figure!r} is not set in {where[1]}")
            elif not phrase and not _within(at, usual) and not same(figure, held):
                found.append(f"{id}: {figure!r} in {text[max(0, at - 25) : at + 30]!r}")
    for cell in lesson.cells:
        answer = str(cell.attributes.get("answer", ""))
        if any(not same(figure, asserted(cell)) for _, figure in figures(answer)):
            found.append(f"{cell.id}: the answer {answer!r}")
    found += [f"no figure is in the phrase {phrase!r}" for phrase in plain if phrase not in used]
    return found


def stated(lesson: source.Lesson) -> Iterator[tuple[str, str, set[float]]]:
    """(cell, text, the numbers that hold it) for all that a lesson says in words."""
    said = [k for k, cell in enumerate(lesson.cells) if cell.kind == "markdown"]
    for k, cell in enumerate(lesson.cells):
        near = [i for i in lesson.code if i < k][-NEAR:] + [i for i in lesson.code if i > k][:NEAR]
        near = lesson.code if k in (said[0], said[-1]) else [*near, k]
        held = {n for i in near for n in asserted(lesson.cells[i])}
        if cell.kind == "markdown":
            yield cell.id, prose(cell.source), held
        elif "check" in cell.attributes:
            exercise = lesson.cell(cell.attributes["check"])
            proven = {n for c in (exercise, cell) for n in numbers(ast.parse(answer_of(c)))}
            yield from ((cell.id, prose(hint), proven) for hint in cell.hints)
        elif cell.kind == "code":
            yield from ((cell.id, prose(text), held) for text in words_of_pictures(cell))
            offered = " or ".join(map(str, cell.attributes.get("options", [])))
            values = {value(figure) for _, figure in figures(offered)}
            yield cell.id, prose(cell.attributes.get("predict", "")), held | values


def words_of_pictures(cell: source.Cell) -> Iterator[str]:
    """The captions and the titles that a cell gives its pictures."""
    for node in ast.walk(ast.parse(cell.source)):
        if not isinstance(node, ast.Call):
            continue
        texts = [k.value for k in node.keywords if k.arg in ("caption", "title", "x", "y")]
        name = getattr(node.func, "id", "")
        texts += node.args[2:3] if name in ("show", "Drawing") else []
        for text in texts:
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                yield text.value


def answer_of(cell: source.Cell) -> str:
    """The code that answers an exercise: the solution, or minigen's own where a bug was planted."""
    if "bug" not in cell.attributes:
        return cell.source
    module = planted.module_of(cell.attributes["bug"])
    return textwrap.dedent(inspect.getsource(getattr(module, cell.attributes["of"])))


def _within(at: int, spans: Iterable[tuple[int, int]]) -> bool:
    return any(begin <= at < end for begin, end in spans)


def main() -> int:
    plain = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    everywhere, count = plain.pop("everywhere"), 0
    for lesson in course.lessons():
        found = faults(lesson, everywhere, plain.get(lesson.name, {}))
        count += len(found)
        for fault in found:
            print(f"{lesson.path.name}: not asserted: {fault}")
        all_ = sum(len(list(figures(text))) for _, text, _ in stated(lesson))
        print(f"{lesson.name:<12} {all_} figures in words, {len(found)} faults", flush=True)
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main())
