"""Picture of the terminal for the README, from a real run.

``python docs/hooks/terminal_picture.py`` trains the synthetic default and writes
``docs/images/terminal.svg``; further arguments go to the run.
"""

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

PICTURE = Path(__file__).parents[1] / "images" / "terminal.svg"
COLUMNS = 80
PROMPT = "make train"

THEME = TerminalTheme(
    (24, 28, 34),
    (226, 230, 236),
    [(70, 76, 86), (240, 118, 110), (98, 196, 140), (229, 180, 84), (107, 166, 232),
     (196, 148, 232), (98, 190, 200), (226, 230, 236)],
    [(140, 148, 160), (250, 140, 130), (120, 216, 160), (245, 200, 110), (135, 188, 245),
     (214, 170, 245), (120, 210, 220), (250, 251, 253)],
)  # fmt: skip
"""Light on dark, which is legible on a light and on a dark page."""

FORMAT = """<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" \
role="img" aria-label="LABEL">
<style>
text {{ font: {char_height}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", \
monospace; }}
{styles}
</style>
<defs>{lines}</defs>
<rect fill="#181c22" width="100%" height="100%" rx="12"/>
<g transform="translate(14, 14)">{backgrounds}{matrix}</g>
</svg>
"""
"""rich's picture without its web fonts and its window buttons."""


def run(arguments: list[str]) -> str:
    """Return the coloured output of a run in a new folder, which is called ~/dccc-lightning."""
    colours = {"FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "dccc_lightning", *arguments], cwd=folder, check=True,
            env={**os.environ, **colours}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        return done.stdout.replace(str(Path(folder).resolve()), "~/dccc-lightning")


def picture(output: str) -> str:
    """Return the SVG of a terminal that shows a prompt with ``make train`` and ``output``."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "green"), (PROMPT, "bold")))
    for line in output.splitlines():
        console.print(Text.from_ansi(line), overflow="ignore", no_wrap=True, crop=False)
    form = FORMAT.replace("LABEL", "Terminal during a training run")
    return console.export_svg(theme=THEME, code_format=form, unique_id="t", title="")


if __name__ == "__main__":
    said = run(sys.argv[1:])
    PICTURE.write_text(picture(said), encoding="utf-8")
    print(f"{PICTURE}:\n{said}")
