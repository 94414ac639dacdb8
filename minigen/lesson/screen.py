"""The terminal as a lesson sees it: prose, code, output and pictures in at most 80 columns.

Colour only where the terminal has it and NO_COLOR is unset; plain lines where there is none.
"""

from __future__ import annotations

import base64
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

from .formulas import each_formula, plain
from .showing import Picture

__all__ = ["Screen"]

WIDTH = 80
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
HEADING = re.compile(r"\x1b\[[0-9;]*m[^\x1b]+\x1b\[0m\s*")  # all of it in one style


class Screen:
    """Writes to a stream, reads answers from stdin."""

    def __init__(self, stream: TextIO):
        from rich.console import Console

        self.stream = stream
        self.console = Console(file=stream, highlight=False, soft_wrap=False)
        self.console.width = min(self.console.width, WIDTH)

    def _print(self, *things: Any, **options: Any) -> None:
        try:
            self.console.print(*things, **options)
        except UnicodeEncodeError:  # a terminal that knows no ∂
            with self.console.capture() as caught:
                self.console.print(*things, **options)
            self.stream.write(caught.get().encode("ascii", "replace").decode())

    def prose(self, text: str) -> None:
        """Markdown, its formulas in plain characters."""
        from rich.markdown import Markdown

        text = each_formula(text, lambda tex, shown: f"\n\n    {plain(tex)}\n\n" if shown
                            else f"*{_escaped(plain(tex))}*")
        self._print()
        self._print(Markdown(text, code_theme="ansi_dark"))

    def code(self, text: str, numbers: Sequence[int] = ()) -> None:
        """Python in colours, with the line numbers of its file where they are given.

        A line that is too long goes on in the next one, two columns further in than it began.
        """
        from rich.syntax import Syntax
        from rich.text import Text

        painter = Syntax("", "python", theme="ansi_dark", background_color="default")
        text = text.rstrip("\n")
        lines = painter.highlight(text).split("\n", allow_blank=True)[: text.count("\n") + 1]
        gutter = len(str(numbers[-1])) + 1 if numbers else 0
        self._print()
        for k, line in enumerate(lines):
            line.rstrip()
            deep = min(len(line.plain) - len(line.plain.lstrip()) + 2, WIDTH // 4)
            head = Text()  # a style of its own would be the code's, too
            head.append(f"{numbers[k]:>{gutter - 1}} " if numbers else "", style="dim")
            for part in folded(line, self.console.width - gutter, deep):
                self._print(head + part, soft_wrap=True)
                head = Text(" " * gutter)

    def output(self, text: str) -> None:
        """What a cell prints, as it comes; in a terminal, long lines break between words."""
        for line in text.splitlines(keepends=True):
            end = "\n" if line.endswith("\n") else ""
            self._print(self._broken(line.removesuffix("\n")), end=end, markup=False,
                        soft_wrap=True, style="green")

    def plain(self, text: str) -> None:
        """Text as it is; in a terminal, long lines break between words."""
        for line in text.split("\n"):
            self._print(self._broken(line), markup=False, soft_wrap=True)

    def _broken(self, line: str) -> str:
        from rich.text import Text

        if not self.console.is_terminal or len(line) <= self.console.width:
            return line
        deep = min(len(line) - len(line.lstrip()) + 2, WIDTH // 4)
        return "\n".join(p.plain for p in folded(Text(line), self.console.width, deep))

    def lines(self, lines: Iterable[str]) -> None:
        """Lines as they are."""
        for line in lines:
            self._print(line, markup=False)

    def note(self, text: str) -> None:
        """A remark of the stepper's own."""
        self._print(f"({text})", markup=False, style="dim")

    def error(self, text: str) -> None:
        """A traceback, or what went wrong."""
        self._print(text.rstrip(), markup=False, style="red", soft_wrap=True)

    def rule(self, text: str) -> None:
        """A heading with a line after it."""
        from rich.rule import Rule
        from rich.text import Text

        self._print()
        self._print(Rule(Text(text, style="bold"), align="left", style="dim"))

    def picture(self, picture: Picture) -> None:
        """Where the picture is; the picture itself in terminals that can draw it."""
        inline = inline_image(picture.png.read_bytes()) if self.console.is_terminal else ""
        if inline:
            self.stream.write(inline + "\n")
        label, place = f"{picture.caption or 'picture'}:", str(picture.gif or picture.png)
        # A path that goes on in the next line can be neither clicked nor copied.
        gap = " " if len(label) + len(place) < self.console.width else "\n"
        self._print(f"{label}{gap}{place}", markup=False, soft_wrap=True, style="cyan")

    def pages(self, write: Callable[[], None]) -> list[str]:
        """What `write` writes, in pages that leave the terminal a line for its prompt.

        None where there is no terminal, whose top could be lost: then it is written at once.
        """
        if not self.console.is_terminal:
            write()
            return []
        with self.console.capture() as caught:
            write()
        found: list[str] = []
        lines = caught.get().splitlines(keepends=True)
        most = max(self.console.height - 1, 5)
        while lines:
            cut = most if len(lines) > most else len(lines)
            if cut < len(lines):  # at an empty line, if there is one far enough down
                seen = [ESCAPES.sub("", line).strip(" 0123456789\n") for line in lines[:most]]
                empty = [k for k in range(most // 2, most)
                         if not seen[k] and not HEADING.fullmatch(lines[k - 1])]
                cut = empty[-1] + 1 if empty else most
            found.append("".join(lines[:cut]))
            lines = lines[cut:]
        return found

    def page(self, text: str) -> None:
        """One of `pages`."""
        try:
            self.stream.write(text)
        except UnicodeEncodeError:
            self.stream.write(text.encode("ascii", "replace").decode())

    def ask(self, prompt: str) -> str | None:
        """A line from the reader; None when there is no more."""
        self.stream.flush()
        try:
            if self.console.is_terminal and sys.stdin.isatty():
                import contextlib

                with contextlib.suppress(ImportError):
                    import readline  # noqa: F401  editing and history of the line

                return input(prompt)
            self.stream.write(prompt)
            self.stream.flush()
            line = sys.stdin.readline()
            self.stream.write("\n")
            return line.rstrip("\n") if line else None
        except EOFError:
            self.stream.write("\n")
            return None


def folded(line: Any, width: int, deep: int) -> Iterator[Any]:
    """A line of code in parts of at most `width` columns; all but the first begin at column `deep`.
    """
    from rich.text import Text

    while len(line.plain) > width:
        cut = line.plain.rfind(" ", deep + 1, width) + 1 or width
        first, line = line.divide([cut])
        yield first
        line = Text(" " * deep) + line
    yield line


def _escaped(text: str) -> str:
    """Plain characters that Markdown must not take for its own."""
    return "".join("\\" + c if c in r"\*_`[]<>" else c for c in text)


def inline_image(png: bytes) -> str:
    """The escape sequence that draws a PNG, in terminals known to understand one; else ''."""
    data = base64.b64encode(png).decode()
    if os.environ.get("TERM_PROGRAM") in ("iTerm.app", "WezTerm") and "TMUX" not in os.environ:
        return f"\x1b]1337;File=inline=1;width=72;size={len(png)}:{data}\a"
    if "KITTY_WINDOW_ID" in os.environ and "TMUX" not in os.environ:
        parts = [data[i : i + 4096] for i in range(0, len(data), 4096)]
        return "".join(
            f"\x1b_G{'a=T,f=100,c=72,' if i == 0 else ''}m={int(i + 1 < len(parts))};{part}\x1b\\"
            for i, part in enumerate(parts)
        )
    return ""
