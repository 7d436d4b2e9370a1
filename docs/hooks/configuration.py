"""The configuration reference: every group, option, setting and default of conf/, with its comment.

A hook of mkdocs, and a program: ``python docs/hooks/configuration.py`` prints the page.
"""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONF = Path(__file__).parents[2] / "conf"
PAGE = "configuration.md"
ROOT = "train"

INTRODUCTION = """\
# Configuration

This page is made from `conf/` whenever the site is built: every group, option, setting and default,
with the comment that stands beside it there. `python -m dccc_lightning --help` prints the choices,
`--cfg job` the settings that a command line comes to. A group is chosen with `group=option`, a
setting changed with `key=value`; a setting of a group has the group's name before it
(`scheduler.start=0.6`), unless the option says that its settings belong to the root.

`${recipe.start}` stands for the value of that other setting, `${oc.env:NAME,value}` for a variable
of the environment, and `${now:...}` for the time.
"""


@dataclass(frozen=True)
class Setting:
    """A setting as a file of conf/ has it.

    Attributes:
        key: Its path in the file, with dots.
        default: Its value as it is written; empty for a heading of several settings.
        comment: What the file says of it.
    """

    key: str
    default: str
    comment: str


@dataclass(frozen=True)
class Option:
    """A file of conf/.

    Attributes:
        group: Its folder; empty for the root.
        name: Its name without suffix.
        about: The comment that it begins with.
        rooted: Whether its settings belong to the root instead of to its group.
        defaults: What its defaults list chooses.
        settings: Its own settings, in order.
    """

    group: str
    name: str
    about: str
    rooted: bool
    defaults: tuple[str, ...]
    settings: tuple[Setting, ...]


def read_option(path: Path, conf: Path = CONF) -> Option:
    """Read a file of conf/, with its comments.

    Raises:
        ValueError: The file does not begin with a comment that says what it is.
    """
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    header = []
    for line in lines:
        if not line.startswith("#"):
            break
        header.append(line.removeprefix("#").strip())
    about = " ".join(line for line in header if not line.startswith("@package"))
    if not about:
        raise ValueError(f"{path} must begin with a comment that says what it is")
    source = _Source(text, lines, len(header))
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    settings = tuple(source.settings(node, "")) if isinstance(node, yaml.MappingNode) else ()
    group = path.parent.relative_to(conf).as_posix()
    return Option(
        group="" if group == "." else group,
        name=path.stem,
        about=about,
        rooted=any(line == "@package _global_" for line in header),
        defaults=tuple(_choices(yaml.safe_load(text))),
        settings=settings,
    )


class _Source:
    """The text of a file, to look up what is written at and above a node."""

    def __init__(self, text: str, lines: list[str], body: int) -> None:
        self.text, self.lines, self.body = text, lines, body

    def settings(self, node: yaml.MappingNode, prefix: str) -> Iterator[Setting]:
        for name, value in node.value:
            key = f"{prefix}{name.value}"
            if key == "defaults":
                continue
            if isinstance(value, yaml.MappingNode) and value.value:
                place = value if value.flow_style else name
                comment = self.comment(name, place)
                if comment:
                    yield Setting(key, "", comment)
                yield from self.settings(value, f"{key}.")
            else:
                # Of {a: 1, b: 2} the comment after the brace is about all of it.
                yield Setting(key, self.written(value), self.comment(name, value))

    def written(self, value: yaml.Node) -> str:
        text = self.text[value.start_mark.index : value.end_mark.index]
        lines = [line.strip() for line in text.strip().splitlines()]
        if getattr(value, "style", None) in ("|", ">"):
            return "\n".join(line for line in lines[1:] if line)
        return " ".join(lines)

    def comment(self, name: yaml.Node, value: yaml.Node) -> str:
        above: list[str] = []
        number = name.start_mark.line - 1
        indent = " " * name.start_mark.column + "#"
        while number >= self.body and self.lines[number].startswith(indent):
            above.insert(0, self.lines[number].strip("# "))
            number -= 1
        if getattr(value, "style", None) in ("|", ">"):
            return " ".join(above)
        number, column = value.end_mark.line, value.end_mark.column
        match = re.fullmatch(r":?\s*(?<!\S)#\s?(.*)", self.lines[number][column:].rstrip() or "-")
        beside = []
        if match:
            beside.append(match[1])
            margin = " " * self.lines[number].index("#", column) + "#"
            for line in self.lines[number + 1 :]:
                if not line.startswith(margin):
                    break
                beside.append(line.strip("# "))
        return " ".join([*above, *beside])


def _choices(content: Any) -> Iterator[str]:
    for entry in (content or {}).get("defaults", ()):
        if isinstance(entry, str):
            yield entry
        else:
            for group, option in entry.items():
                choice = "null" if option is None else option
                yield f"{group.removeprefix('override ').lstrip('/')}={choice}"


def read_conf(conf: Path = CONF) -> dict[str, list[Option]]:
    """Read every file of conf/: options by group, the root's group first, then in its order."""
    options = [read_option(path, conf) for path in sorted(conf.rglob("*.yaml"))]
    root = next(option for option in options if option.group == "")
    order = ["", *(choice.partition("=")[0] for choice in root.defaults if "=" in choice)]
    groups: dict[str, list[Option]] = {group: [] for group in order}
    for option in options:
        groups.setdefault(option.group, []).append(option)
    return {group: members for group, members in groups.items() if members}


def render(conf: Path = CONF) -> str:
    """Return the page as Markdown, its tables as HTML (comments may hold any character)."""
    groups = read_conf(conf)
    chosen = dict(choice.split("=", 1) for choice in groups[""][0].defaults if "=" in choice)
    parts = [INTRODUCTION]
    for group, options in groups.items():
        if group == "":
            parts.append("## Settings of the root\n")
        else:
            default = f" (default: {chosen[group]})" if group in chosen else ""
            parts.append(f"## {group}{default}\n")
        parts += [_render_option(option) for option in options]
    return "\n".join(parts)


def _render_option(option: Option) -> str:
    title = f"{option.group}={option.name}" if option.group else f"{option.name}.yaml"
    parts = [f"### {title}\n", f"<p>{_marked(option.about)}</p>\n"]
    base = [choice for choice in option.defaults if "=" not in choice and choice != "_self_"]
    choices = [choice for choice in option.defaults if "=" in choice]
    if base:
        parts.append(f"<p>All other settings are those of {_codes(base)}.</p>\n")
    if choices:
        parts.append(f"<p>Chooses {_codes(choices)}.</p>\n")
    if option.rooted and option.settings:
        parts.append("<p>The settings belong to the root.</p>\n")
    if option.settings:
        rows = "".join(
            f"<tr><td><code>{html.escape(setting.key)}</code></td><td>{_value(setting.default)}</td>"
            f"<td>{_marked(setting.comment)}</td></tr>\n"
            for setting in option.settings
        )
        parts.append(
            "<table><thead><tr><th>setting</th><th>default</th><th>what it is</th></tr></thead>\n"
            f"<tbody>\n{rows}</tbody></table>\n"
        )
    return "\n".join(parts)


def _value(default: str) -> str:
    if "\n" in default:
        return f"<pre>{html.escape(default)}</pre>"
    return f"<code>{html.escape(default)}</code>" if default else ""


def _codes(names: list[str]) -> str:
    return ", ".join(f"<code>{html.escape(name)}</code>" for name in names)


def _marked(comment: str) -> str:
    """Escape a comment; what stands between backticks becomes code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(comment, quote=False))


def on_files(files: Any, config: Any) -> Any:
    """Add the page to the site (called by mkdocs)."""
    from mkdocs.structure.files import File  # noqa: PLC0415  (the program needs no mkdocs)

    files.append(File.generated(config, PAGE, content=render()))
    return files


if __name__ == "__main__":
    print(render())
