"""Formulas of the prose, written in TeX between dollars: as plain characters, or as MathML."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..errors import MinigenError

__all__ = ["each_formula", "mathml", "plain"]

FORMULA = re.compile(r"(```.*?```|`[^`]*`)|\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)
SIGNS = {
    "partial": "∂", "sum": "Σ", "cdot": "·", "times": "×", "to": "→", "mapsto": "↦", "sigma": "σ",
    "mu": "μ", "varepsilon": "ε", "epsilon": "ε", "lambda": "λ", "beta": "β", "alpha": "α",
    "theta": "θ", "phi": "φ", "eta": "η", "pi": "π", "tanh": "tanh", "log": "log", "exp": "exp",
    "infty": "∞", "approx": "≈", "le": "≤", "ge": "≥", "leq": "≤", "geq": "≥", "neq": "≠",
    "in": "∈",
    "langle": "⟨", "rangle": "⟩", "nabla": "∇", "int": "∫", "sim": "~", "top": "T", "dots": "…",
    "ldots": "…", "cdots": "…", "quad": "  ", "qquad": "    ", "left": "", "right": "",
    "min": "min",
    "max": "max", "mid": "|", "Vert": "‖", "|": "‖", "delta": "δ", "Delta": "Δ", "pm": "±",
    "sin": "sin", "cos": "cos", "gamma": "γ", "prime": "′", "odot": "⊙", "ln": "ln", ",": " ",
    ";": " ", "!": "", "{": "{", "}": "}",
}  # fmt: skip
RAISED = dict(zip("0123456789+-nTi*", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿᵀⁱ*", strict=True))
LOWERED = dict(zip("0123456789+-aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", strict=True))


def each_formula(text: str, replace: Callable[[str, bool], str]) -> str:
    """The text with each formula replaced by replace(tex, displayed?); code spans stay as they are.
    """

    def one(match: re.Match[str]) -> str:
        if match[1] is not None:
            return match[1]
        return replace(match[2] or match[3], match[2] is not None)

    return FORMULA.sub(one, text)


def plain(tex: str) -> str:
    """TeX in characters of a terminal: \\frac{\\partial y}{\\partial x} → ∂y/∂x."""
    text = " ".join(tex.split())
    styles = "mathcal|mathrm|mathbf|text|operatorname|mathbb|hat|bar|tilde"
    text = re.sub(rf"\\(?:{styles})\s*\{{([^{{}}]*)\}}", r"\1", text)
    group = r"\{((?:[^{}]|\{[^{}]*\})*)\}"
    for _ in range(3):
        text = re.sub(rf"\\t?frac\s*{group}\s*{group}", _fraction, text)
        text = re.sub(rf"\\sqrt\s*{group}", lambda m: f"√{_bracketed(m[1])}", text)
    text = re.sub(r"\\([a-zA-Z]+|[|,;!{}])", lambda m: SIGNS.get(m[1], m[1]), text)
    text = re.sub(r"(?<=[∂⟨]) | (?=⟩)", "", text)
    text = re.sub(rf"\^(?:{group}|(\S))", lambda m: _moved(m, RAISED, "^"), text)
    text = re.sub(rf"_(?:{group}|(\S))", lambda m: _moved(m, LOWERED, "_"), text)
    return text.replace("{", "").replace("}", "").strip()


def _fraction(m: re.Match[str]) -> str:
    above, below = _bracketed(m[1]), _bracketed(m[2])
    if (above, below) == ("1", "2"):
        return "½"  # 1/2(a + b) could be read as 1/(2(a + b))
    return f"{above}/({below})" if re.fullmatch(r"\d+[a-z]+", below) else f"{above}/{below}"


def _bracketed(text: str) -> str:
    return f"({text})" if re.search(r"[ +\-=]", re.sub(r"\\partial ", "", text.strip())) else text


def _moved(m: re.Match[str], table: dict[str, str], sign: str) -> str:
    text = m[1] if m[1] is not None else m[2]
    if all(c in table for c in text):
        return "".join(table[c] for c in text)
    return f"{sign}{text}" if len(text) == 1 else f"{sign}({text})"


def mathml(tex: str, displayed: bool) -> str:
    """TeX as MathML, which browsers draw themselves."""
    try:
        from latex2mathml.converter import convert
    except ImportError:
        raise MinigenError(
            "pages with formulas need latex2mathml: pip install 'minigen[lessons]'"
        ) from None
    text = convert(tex, display="block" if displayed else "inline")
    # log p: what is written with letters keeps a little away from the next letters.
    return re.sub(r"(<mi>[a-z]{2,}</mi>)(?=<m(?:i|n|su[bp]|frac)>)",
                  r'\1<mspace width="0.17em"/>', text)
