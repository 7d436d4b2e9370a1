"""Examples of docstrings (``>>> ...``) as code: Markdown would take them for quotations."""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"(?m)^>>> .*\n(?:.+\n?)*")


def fenced(docstring: str) -> str:
    """Put every run of lines that begins with ``>>>`` into a fence."""
    return EXAMPLE.sub(lambda match: f"```python\n{match[0].rstrip()}\n```\n", docstring).rstrip()


class Doctests(griffe.Extension):
    """Rewrites docstrings when they have been read from the source."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one class, function, module or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)
