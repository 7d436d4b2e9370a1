"""Source of a split's images: a folder of images or a list, and the pattern of their paths."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dccc_lightning.data.datasets.file_names import list_images, shown
from dccc_lightning.data.datasets.image_labels import (
    LABELS,
    ImageLabels,
    LabelTemplates,
    joined_text,
    quoted,
)
from dccc_lightning.data.datasets.image_tree import is_folder, visible_entries
from dccc_lightning.data.datasets.row_files import Row, kept_rows, missing_files, plain, read_rows
from dccc_lightning.data.datasets.tracklet_lists import TrackletLists
from dccc_lightning.data.image_formats import MisnamedImages, has_image_suffix
from dccc_lightning.errors import UserError

MAX_DIGITS = 9
"""Maximum number of digits of a number in a name, which leaves room for offsets in int64."""

READING = (
    "folder", "list", "line", "line_example", "path", "join", "tracklets",
    "pattern", "example", "where", *(label for label in LABELS if label != "split"),
)  # fmt: skip
"""Settings of a source; those of the dataset are the defaults of its splits."""


@dataclass(frozen=True)
class SplitSource:
    r"""Images of a split, or a part of them, with their labels.

    Attributes:
        folder: Folder below the dataset's, to which paths are relative.
        lists: List or table files below the dataset's folder; empty to list the folder itself.
        line: Regular expression of a list's line.
        line_example: Line that follows it, for messages.
        path: Template of the path in a list, from the groups of the line.
        join: List file and line of further groups by path, such as a table of cameras; the
            template of the path applies to both lists.
        tracklets: Files that divide the list into tracklets.
        pattern: Regular expression of a whole path without suffix, as many folders deep as
            ``example``; the number of folders in it is the depth at which images are listed.
        example: Path that follows the pattern, for messages.
        where: Values of groups, or files of them; other images belong to another split.
        templates: Labels joined from groups, see ``LabelTemplates``.
    """

    folder: str = ""
    lists: tuple[str, ...] = ()
    line: re.Pattern[str] | None = None
    line_example: str = ""
    path: str = "{path}"
    join: tuple[str, re.Pattern[str]] | None = None
    tracklets: TrackletLists | None = None
    pattern: re.Pattern[str] | None = None
    example: str = ""
    where: Mapping[str, object] = field(default_factory=dict)
    templates: LabelTemplates = field(default_factory=lambda: LabelTemplates({}, ()))

    @classmethod
    def of(cls, place: str, settings: Mapping[str, object]) -> "SplitSource":
        """Return the source that settings describe.

        Raises:
            TypeError: A setting has the wrong type.
            ValueError: A setting is unknown, or not a regular expression, or names no group.
        """
        for key in settings:
            if key not in READING:
                raise ValueError(f"{place} must be some of {', '.join(READING)}, got {key}")
        pattern = _expression("pattern", settings.get("pattern"))
        line = _expression("line", settings.get("line"))
        join = settings.get("join")
        if join is not None and not (isinstance(join, Mapping) and {"list", "line"} == set(join)):
            raise TypeError(f"join must be {{list: FILE, line: EXPRESSION}}, got {join!r}")
        joined = None if join is None else _expression("join.line", join["line"])
        tracklets = settings.get("tracklets")
        groups = {"stem", "folder"}
        for expression in (pattern, line, joined):
            groups |= set(expression.groupindex if expression else ())
        where = settings.get("where") or {}
        if not isinstance(where, Mapping):
            raise TypeError(f"where must be {{GROUP: [VALUES]}}, got {where!r}")
        files = settings.get("list") or ()
        files = (files,) if isinstance(files, str) else tuple(_texts("list", files))
        if any(file.endswith((".xml", ".csv")) for file in files):
            groups |= set(re.findall(r"\{([^{}]*)\}", str({**settings})))
        if tracklets is not None:
            groups.add("tracklet")
        for group in where:
            if group not in groups:
                raise ValueError(
                    f"where must name groups, some of {', '.join(groups)}, got {group}"
                )
        return cls(
            folder=str(settings.get("folder") or ""),
            lists=files,
            line=line,
            line_example=str(settings.get("line_example") or ""),
            path=str(settings.get("path") or "{path}"),
            join=None if joined is None or join is None else (str(join["list"]), joined),
            tracklets=None if tracklets is None else TrackletLists.of(tracklets),
            pattern=pattern,
            example=str(settings.get("example") or ""),
            where=where,
            templates=LabelTemplates(
                {label: settings[label] for label in LABELS if label in settings}, sorted(groups)
            ),
        )

    def files(self) -> tuple[str, ...]:
        """Return the list files that the source needs."""
        return (
            *self.lists,
            *((self.join[0],) if self.join else ()),
            *(self.tracklets.files() if self.tracklets else ()),
            *(value for value in self.where.values() if isinstance(value, str)),
        )

    def read(self, place: str, home: Path, others: MisnamedImages) -> list[ImageLabels]:
        """Return the images in the order of their paths, with paths relative to ``home``.

        Args:
            place: Name of the dataset, the start of each message.
            home: Folder of the dataset.
            others: Counter of images among ignored files.

        Raises:
            UserError: A folder or file cannot be read, or a name or line does not match.
        """
        kept = {group: kept_rows(place, home, values) for group, values in self.where.items()}
        images: list[ImageLabels] = []
        if not self.lists:
            strangers: list[str] = []
            for path in self._listed(home / self.folder, others):
                if (groups := self.groups(path, {})) is None:
                    strangers.append(path)
                elif _is_kept(groups, kept):
                    images.append(self._image(path, groups))
            if strangers:
                first = strangers[0]
                raise UserError(
                    f"{place}: {len(strangers)} image name(s) in {home / self.folder} do not match "
                    f"{self.example}, the first is {shown(first)}; move them elsewhere or correct "
                    "dataset.root"
                )
            return images
        for file in self.lists:
            images += self._of_list(place, home, home / file, kept, others)
        return sorted(images, key=lambda image: image.path.split("/"))

    def _of_list(
        self,
        place: str,
        home: Path,
        file: Path,
        kept: Mapping[str, frozenset[str]],
        others: MisnamedImages,
    ) -> list[ImageLabels]:
        """Return the images of a list or table."""
        rows, strangers = read_rows(place, file, self.line)
        if file.suffix == ".xml":  # other elements have attributes too
            rows = [row for row in rows if _names_groups(self.path, row)]
        if self.tracklets:
            rows = self.tracklets.divided(place, home, file, rows)
        more = self._further(place, home)
        images: list[ImageLabels] = []
        for row in rows:
            path = joined_text(self.path, row) if _names_groups(self.path, row) else ""
            inside = path and not Path(path).is_absolute() and ".." not in Path(path).parts
            extra = {} if more is None else more.get(path)
            groups = None if extra is None or not inside else self.groups(path, {**row, **extra})
            if groups is None:
                strangers.append(row.get("") or path)
            elif not _is_kept(groups, kept):
                continue
            elif not has_image_suffix(path) and os.path.isdir(home / self.folder / path):  # noqa: PTH112  # Path.is_dir raises for names too long
                names = list_images(home / self.folder / path, others)
                images += [self._image(f"{path}/{name}", groups) for name in names]
            else:
                images.append(self._image(path, groups))
        if strangers:
            example = self.line_example or self.example
            raise UserError(
                f'{place}: {len(strangers)} line(s) of {file} do not match "{example}", the first '
                f'is "{shown(strangers[0])}"'
            )
        if missing := missing_files([home / image.path for image in images]):
            raise UserError(
                f"{place}: {len(missing)} file(s) of {file} are not in {home / self.folder}, "
                f"the first is {shown(missing[0])}; unpack the archive again or set dataset.root"
            )
        return images

    def _further(self, place: str, home: Path) -> dict[str, Row] | None:
        """Return further groups of images by path."""
        if self.join is None:
            return None
        rows, _ = read_rows(place, home / self.join[0], self.join[1])
        known = (row for row in rows if _names_groups(self.path, row))
        return {joined_text(self.path, row): {k: v for k, v in row.items() if k} for row in known}

    def _image(self, path: str, groups: Row) -> ImageLabels:
        inner = f"{self.folder}/{path}" if self.folder else path
        return self.templates.labels(inner, groups)

    def groups(self, path: str, row: Row) -> Row | None:
        """Return the groups of a path and its row; None if one does not match."""
        found: Row = {"stem": Path(path).stem, "folder": self.folder}
        if self.pattern is not None:
            parts = path.split("/")[-1 - self.example.count("/") :]
            parts[-1] = Path(parts[-1]).stem
            match = self.pattern.fullmatch("/".join(parts))
            if match is None:
                return None
            found |= match.groupdict()
        found |= row
        used = [found.get(group, "?") or "" for group in self.templates.groups - {"stem"}]
        if any(text == "?" or (text.isdecimal() and len(text) > MAX_DIGITS) for text in used):
            return None
        return found

    def _listed(self, folder: Path, others: MisnamedImages) -> Iterator[str]:
        """Yield the images below a folder as deep as the example, sorted by path."""
        folders = [""]
        for _ in range(self.example.count("/")):
            folders = [
                f"{prefix}{entry.name}/"
                for prefix in folders
                for entry in visible_entries(folder / prefix)
                if is_folder(entry)
            ]
        for prefix in folders:
            for name in list_images(folder / prefix, others):
                yield f"{prefix}{name}"


def _is_kept(groups: Row, kept: Mapping[str, frozenset[str]]) -> bool:
    return all(plain(groups.get(group) or "") in values for group, values in kept.items())


def _names_groups(template: str, groups: Row) -> bool:
    """Return True if all groups of a template are known."""
    return all(group in groups for group in re.findall(r"\{([^{}]*)\}", template))


def _expression(name: str, pattern: object) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    if not isinstance(pattern, str):
        raise TypeError(f"{name} must be a regular expression, got {pattern!r}")
    try:
        return re.compile(pattern, re.ASCII | re.DOTALL)
    except (re.error, OverflowError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{name} must be a regular expression, got {quoted(pattern)}: {reason}"
        ) from error


def _texts(name: str, values: object) -> Sequence[str]:
    if not isinstance(values, (list, tuple)) or not all(isinstance(v, str) for v in values):
        raise TypeError(f"{name} must be a file or a list of files, got {values!r}")
    return values
