"""Links that lead out of docs/, to files of the repository: the site gets a page for each.

``[update](../src/dccc_lightning/memory.py#ClusterMemory.update)`` opens the file where the
repository is browsed; here it becomes a link to the line on which that function begins. A file, a
name or a heading that does not exist fails the build.
"""

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from markdown.extensions.toc import slugify
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename

REPOSITORY = Path(__file__).parents[2]
FOLDER = "files"
LINK = re.compile(r"\]\((?P<path>(?:\.\./)+[\w./-]+)(?:#(?P<name>[\w.-]+))?\)")


def line_of(source: str, name: str) -> int:
    r"""Return the line on which a function, class or method (``Class.method``) begins, from 1.

    Raises:
        LookupError: There is none of that name.

    >>> line_of("x = 1\nclass A:\n    def f(self): ...\n", "A.f")
    3
    """
    body, line = ast.parse(source).body, 0
    for part in name.split("."):
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part:
                body, line = node.body, node.lineno
                break
        else:
            raise LookupError(f"nothing is called {name}")
    return line


def anchor(target: Path, name: str) -> str:
    """Return the anchor, on the page of a file, of a heading or of a function or class.

    Raises:
        LookupError: There is none of that name.
    """
    text = (REPOSITORY / target).read_text(encoding="utf-8")
    if target.suffix != ".md":
        return f"line-{line_of(text, name)}"
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    if name not in (slugify(heading, "-") for heading in headings):
        raise LookupError(f"no heading is called {name}")
    return name


def outside(page: str, link: str) -> Path | None:
    """Return the file of the repository that a link of a page leads to, if it lies outside docs/.

    Args:
        page: Path of the page below docs/.
        link: Relative to the page.
    """
    target = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), link))
    return None if target.startswith(("docs/", "..")) else Path(target)


def on_files(files: Any, config: Any) -> Any:
    """Add a page for every file that is linked (called by mkdocs)."""
    wanted: set[Path] = set()
    for file in list(files):
        if file.src_uri.endswith(".md") and file.generated_by is None:
            for match in LINK.finditer(file.content_string):
                target = outside(file.src_uri, match["path"])
                if target is not None:
                    wanted.add(target)
    for target in sorted(wanted):
        if not (REPOSITORY / target).is_file():
            raise PluginError(f"a page links to {target}, which does not exist")
        files.append(File.generated(config, _page(target), content=_show(target)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point the links of a page to the pages of the files (called by mkdocs)."""
    here = page.file.src_uri

    def rewritten(match: re.Match[str]) -> str:
        target = outside(here, match["path"])
        if target is None:
            return match[0]
        link = posixpath.relpath(_page(target), posixpath.dirname(here) or ".")
        if match["name"] is None:
            return f"]({link})"
        try:
            return f"]({link}#{anchor(target, match['name'])})"
        except LookupError as error:
            raise PluginError(f"{here} links to {target}: {error}") from error

    return markdown if here.startswith(f"{FOLDER}/") else LINK.sub(rewritten, markdown)


def _page(target: Path) -> str:
    return f"{FOLDER}/{target.as_posix().replace('.', '_')}.md"


def _show(target: Path) -> str:
    """Return the page of a file: Markdown with its links to docs/, any other file as a listing."""
    text = (REPOSITORY / target).read_text(encoding="utf-8")
    head = "---\nsearch:\n  exclude: true\nhide:\n  - navigation\n---\n"
    if target.suffix == ".md":
        docs = posixpath.relpath(".", posixpath.dirname(_page(target)))
        return head + text.replace("](docs/", f"]({docs}/")
    # One anchor a line (line-1, line-2, ...), for links to what is implemented there.
    form = HtmlFormatter(linespans="line", wrapcode=True)
    listing = highlight(text, get_lexer_for_filename(target.name, stripnl=False), form)
    return f"{head}# {target.as_posix()}\n\n{listing}\n"
