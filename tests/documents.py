"""What README and documentation tell the reader to type: commands and Python, found in the text."""

import re
import shlex
from pathlib import Path

from dccc_lightning.cli.argument_checks import with_verb
from dccc_lightning.cli.configuration import conf_dir

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
GENERATED = "api"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
    if GENERATED not in path.relative_to(ROOT).parts
}

PROGRAMS = (
    "python", "python3", "torchrun", "srun", "sbatch", "#SBATCH", "make", "pip", "uv", "docker",
    "wandb", "git", "cd", "export", "dccc-lightning", "jupyter", "tensorboard", "mkdocs",
)  # fmt: skip
"""First words of a line that is typed; other lines of a block are what is printed."""

_FENCE = re.compile(r"(?ms)^ *```([^\n]*)\n(.*?)^ *```")
_ASSIGNMENTS = re.compile(r"^(?:[A-Z_]+=\S+ +)*")
_SHELLS = ("", "sh", "bash", "shell", "console")
_INLINE = re.compile(r"`((?:python -m dccc_lightning|make) [^`\n]+)`")


def typed_lines(text: str) -> list[str]:
    """Return the commands of a block: continued lines joined, prompts and remarks cut off."""
    joined = re.sub(r"\\\n\s*", "", text)
    lines = (re.sub(r"^\$ ", "", line.strip()) for line in joined.splitlines())
    return [
        re.sub(r"\s+# .*$", "", line)
        for line in lines
        if _ASSIGNMENTS.sub("", line).split(" ")[0] in PROGRAMS
    ]


def commands(text: str) -> list[str]:
    """Return every command of a page: in blocks, fenced or indented, and in the text."""
    blocks = [code for language, code in _FENCE.findall(text) if language in _SHELLS]
    prose = _FENCE.sub("", text)
    blocks += re.findall(r"(?m)(?<=\n\n)(?: {4}.*\n)+", prose)
    return [line for code in blocks for line in typed_lines(code)] + _INLINE.findall(prose)


def snippets(page: str) -> list[str]:
    """Return the Python of a page, in its order; what a block defines, the next ones use."""
    found = _FENCE.findall(PAGES[page])
    return [code for language, code in found if language.split(" ")[0] == "python"]


def package_arguments(command: str) -> list[str] | None:
    """Return the arguments of a command that calls the package, however; None for another."""
    _, called, arguments = command.partition("-m dccc_lightning")
    return with_verb(shlex.split(arguments), conf_dir()) if called else None


COMMANDS = {c: page for page in reversed(PAGES) for c in commands(PAGES[page])}
"""Every command once, with a page that has it."""
