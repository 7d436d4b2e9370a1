r"""Formulas, as a fence of the language ``math``, become MathML: no script, no font, no network.

A small part of LaTeX is understood: what the pages use. Anything else fails the build.
"""

import html
import re
from typing import Any

FENCE = re.compile(r"^```math\n(?P<formulas>.*?)^```$", re.MULTILINE | re.DOTALL)
TOKEN = re.compile(r"\s*(\\[a-zA-Z]+|\\[{},;]|[A-Za-z]|\d+(?:\.\d+)?|[-+=(){}\[\]|,;:^_<>/!'.])")

LETTERS = ("alpha", "epsilon", "theta", "lambda", "mu", "tau")
SIGNS = {"leftarrow": "larr", "in": "isin", "cap": "cap", "le": "le", "ge": "ge", "cdot": "middot"}
NAMES = ("max", "min", "log", "exp", "ln", "cos")
SPACES = {"quad": "1em", ",": "0.2em", ";": "0.3em"}


class _Reader:
    """Reads a formula from left to right; every method returns MathML."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens, end = text, [], 0
        # Whether the token that was taken last stands where a term begins, and the next one will.
        self.opens, self.opened = True, True
        while text[end:].strip():
            match = TOKEN.match(text, end)
            if match is None:
                raise ValueError(f"cannot read {text[end:].strip()[:20]!r} in the formula {text!r}")
            self.tokens.append(match[1])
            end = match.end()

    def row(self, until: str = "") -> str:
        """Read up to a closing brace, or the end."""
        parts = []
        while self.tokens and self.tokens[0] != until:
            parts.append(self.scripted())
        if until:
            self.take()
        return "<mrow>" + "".join(parts) + "</mrow>"

    def take(self) -> str:
        if not self.tokens:
            raise ValueError(f"the formula {self.text!r} ends too soon")
        token = self.tokens.pop(0)
        self.opens, self.opened = self.opened, token in "({[=,"
        return token

    def scripted(self) -> str:
        """Read one thing with what stands below and above it."""
        under = bool(self.tokens) and self.tokens[0] == "\\sum"
        base, scripts = self.single(), {}
        while self.tokens and self.tokens[0] in "_^":
            mark = self.take()
            scripts[mark] = self.single()
        if not scripts:
            return base
        names = ("munder", "mover", "munderover") if under else ("msub", "msup", "msubsup")
        tag = names[2] if len(scripts) == 2 else names["^" in scripts]
        inner = "".join(scripts[mark] for mark in "_^" if mark in scripts)
        return f"<{tag}>{base}{inner}</{tag}>"

    def single(self) -> str:
        token = self.take()
        if token == "{":
            return self.row("}")
        if token[0] != "\\":
            if token == "-":
                return f'<mo form="{"prefix" if self.opens else "infix"}">&minus;</mo>'
            tag = "mi" if token.isalpha() else "mn" if token[0].isdigit() else "mo"
            return f"<{tag}>{html.escape(token)}</{tag}>"
        return self.command(token[1:])

    def command(self, name: str) -> str:
        if name == "frac":
            return f"<mfrac>{self.single()}{self.single()}</mfrac>"
        if name == "mathrm":
            letters = re.sub(r"<[^>]+>", "", self.single())
            return f'<mi mathvariant="normal">{letters}</mi>'
        known = {
            "sum": "<mo>&sum;</mo>",
            **{letter: f"<mi>&{letter};</mi>" for letter in LETTERS},
            **{sign: f"<mo>&{entity};</mo>" for sign, entity in SIGNS.items()},
            **{word: f"<mi>{word}</mi><mo>&#8289;</mo>" for word in NAMES},
            **{space: f'<mspace width="{width}"></mspace>' for space, width in SPACES.items()},
        }
        if name not in known:
            raise ValueError(f"\\{name} in the formula {self.text!r} is not known")
        return known[name]


def block(formula: str) -> str:
    """Return the MathML of one formula.

    Raises:
        ValueError: Something in it is not understood.
    """
    return f'<math display="block">{_Reader(formula).row()}</math>'


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn the fences of a page into MathML, a formula a line (called by mkdocs)."""

    def converted(match: re.Match[str]) -> str:
        lines = [line for line in match["formulas"].splitlines() if line.strip()]
        return '<div class="formula">' + "".join(map(block, lines)) + "</div>"

    return FENCE.sub(converted, markdown)
