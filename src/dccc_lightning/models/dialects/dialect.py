"""One family of checkpoints: its names, its network, and its parts that cannot be built."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from dccc_lightning.models.layout import PUBLISHED, Layout


@dataclass(frozen=True)
class Dialect:
    """A row of the table of families.

    Patterns are regular expressions that match the beginning of a tensor's name, without
    ``module.``, the prefix of DataParallel.

    Attributes:
        name: Value of ``model.dialect``.
        title: Name for messages.
        source: Repository and commit that the row was read from.
        date: Date of that commit; empty if unknown.
        marks: Patterns that all occur in a file of this family.
        without: Patterns that do not occur in it.
        rewrites: Patterns anywhere in a name, with their replacements, before ``renames``.
        renames: Prefixes of names, with the prefixes of this package.
        layout: Options of its network.
        grouped_layout: Options of its ResNeXts, by grouped convolutions; None for the same.
        takes: Prefixes of the networks in the file; the first that occurs is taken.
        leaves: Patterns of parts that its embedding does not use, with their names.
        refuses: Patterns of trained parts that cannot be built here, with their names.
        remedy: Advice at the end of the message of a refusal.
        note: What the file cannot tell and the log line has to.
        backbones: Backbones of this package that its files are for; empty for any.
        overlaps: Its patches may overlap, which the number of its position embeddings tells.
        image_size: Height and width of its images, if they are always the same.
        of_backbone: Mean and std are those of the weights that the name of a timm backbone stands
            for.
        offset: Of the interpolation of its position embeddings, see ``resize_positions``.
    """

    name: str
    title: str
    source: str
    date: str
    marks: tuple[str, ...]
    without: tuple[str, ...] = ()
    rewrites: tuple[tuple[str, str], ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    layout: Layout = PUBLISHED
    grouped_layout: Layout | None = None
    takes: tuple[str, ...] = ()
    leaves: tuple[tuple[str, str], ...] = ()
    refuses: tuple[tuple[str, str], ...] = ()
    remedy: str = "choose another file"
    note: str = ""
    backbones: tuple[str, ...] = ()
    overlaps: bool = False
    image_size: tuple[int, int] | None = None
    of_backbone: bool = False
    offset: float = 0.0

    def recognizes(self, names: Collection[str]) -> bool:
        """Return True if tensors of these names are of this family."""
        return all(occurs(mark, names) for mark in self.marks) and not any(
            occurs(mark, names) for mark in self.without
        )

    def rename(self, name: str) -> str:
        """Return this package's name; the same name where the row has no other.

        >>> row = Dialect("a", "A", "a/a", "2026-01-01", (), renames=(("feat_bn.", "neck."),))
        >>> row.rename("feat_bn.weight"), row.rename("conv1.weight")
        ('neck.weight', 'conv1.weight')
        """
        for pattern, replacement in self.rewrites:
            name = re.sub(pattern, replacement, name)
        for theirs, ours in self.renames:
            if name.startswith(theirs):
                return ours + name.removeprefix(theirs)
        return name

    def taken(self, names: Collection[str]) -> str:
        """Return the prefix of the network to take, empty if the file holds only one."""
        return next((p for p in self.takes if any(name.startswith(p) for name in names)), "")

    def refused(self, names: Collection[str]) -> list[str]:
        """Return the parts in a file that cannot be built, with a tensor of each."""
        found = {part: first(pattern, names) for pattern, part in self.refuses}
        return [f"{part} ({name})" for part, name in found.items() if name]

    def left(self, name: str) -> str:
        """Return the part, unused by the embedding, that a tensor belongs to; else empty."""
        return next((part for pattern, part in self.leaves if re.match(pattern, name)), "")


def occurs(pattern: str, names: Iterable[str]) -> bool:
    """Return True if the beginning of a name matches."""
    return bool(first(pattern, names))


def first(pattern: str, names: Iterable[str]) -> str:
    """Return the first name whose beginning matches; empty if there is none."""
    compiled = re.compile(pattern)
    return next((name for name in names if compiled.match(name)), "")
