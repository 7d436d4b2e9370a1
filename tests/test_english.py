"""First lines of docstrings are sentences or nouns of the field (ruff D401: functions alone)."""

import ast
import re
from pathlib import Path

import dccc_lightning

PACKAGE = Path(dccc_lightning.__file__).parent
RIDDLE = re.compile(r"(What|Whether|How|Who|Whose|Where|Which|That|All|Whatever|Tell|Say|When)\b")
VAGUE = re.compile(r"\b(somebody|nobody|whoever|everybody|one's own)\b", re.IGNORECASE)


def docstrings(tree):
    """Yield every string that stands as a statement: below modules, definitions and constants."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for part in body if isinstance(body, list) else ():
            if isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant):
                yield str(part.value.value).strip()


def test_docstrings_say_what_the_reader_needs():
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text()
        found = list(docstrings(ast.parse(source)))
        assert found, path
        assert not [text.splitlines()[0] for text in found if RIDDLE.match(text)], path
        assert not VAGUE.findall(source), path
