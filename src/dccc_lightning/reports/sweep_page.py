"""A sweep as one self-contained page: opens from disk, light and dark, narrow and wide."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

from dccc_lightning.reports.sweep_table import NOTE, SweepTable, excuses

_STYLE = """
:root { color-scheme: light dark;
  --line: #d9dce1; --dim: #666c75; --best: #e7f3ea; --bad: #a4262c; }
@media (prefers-color-scheme: dark) {
  :root { --line: #3a3f47; --dim: #9aa1ab; --best: #1f3a28; --bad: #ff8a8a; }
}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.dim { color: var(--dim); margin-top: .2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line); text-align: left;
  white-space: nowrap; }
th { color: var(--dim); font-weight: 600; }
tr.best td { background: var(--best); font-weight: 600; }
td.why { color: var(--bad); white-space: normal; }
img { max-width: 100%; border-radius: 6px; background: white; margin: .4rem 0; }
"""


def to_html(table: SweepTable, title: str, pictures: Mapping[str, bytes]) -> str:
    """Return the page.

    Args:
        table: What the sweep found.
        title: Of the page.
        pictures: PNGs by title.
    """
    best = table.best
    said = f"Best: {best.name()}" if best else "No finished job."
    rows = "".join(
        _row(table.cells(row), 'class="best"' if row is best else "") for row in table.rows
    )
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="dim">{escape(said)}</p>',
        f'<div class="wide"><table id="settings">{_head(table.header())}{rows}</table></div>',
        f'<p class="dim">{escape(NOTE)}</p>',
    ]
    if table.without_results:
        failed = "".join(
            f"<tr><td>{escape(name)}</td><td>{escape(given)}</td>"
            f'<td class="why">{escape(why)}</td></tr>'
            for name, given, why in excuses(table)
        )
        head = _head(["job", "arguments", "why"])
        parts += [
            "<h2>Jobs without results</h2>",
            f'<div class="wide"><table>{head}{failed}</table></div>',
        ]
    for name, png in pictures.items():
        source = f"data:image/png;base64,{b64encode(png).decode()}"
        parts += [f"<h2>{escape(name)}</h2>", f'<img alt="{escape(name)}" src="{source}">']
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _head(titles: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<th>{escape(title)}</th>" for title in titles) + "</tr>"


def _row(cells: Sequence[str], attributes: str) -> str:
    return f"<tr {attributes}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
